package main

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// What helm does: nothing is known before but names of kinds, and all else is asked for.
func dynamically(config *rest.Config, namespace string) {
	config.UserAgent = "helm-like/1"
	asks := discovery.NewDiscoveryClientForConfigOrDie(config)
	version, err := asks.ServerVersion()
	must(err)
	say(line{E: "version", Name: version.GitVersion})
	_, resources, err := asks.ServerGroupsAndResources()
	must(err)
	say(line{E: "resources", Count: len(resources)})
	paths, err := asks.OpenAPIV3().Paths()
	must(err)
	say(line{E: "openapi", Count: len(paths)})
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(asks))
	clients := dynamic.NewForConfigOrDie(config)
	for _, kind := range []schema.GroupKind{{Kind: "ConfigMap"}, {Group: "apps", Kind: "Deployment"}} {
		mapping, err := mapper.RESTMapping(kind)
		must(err)
		list, err := clients.Resource(mapping.Resource).Namespace(namespace).List(context.Background(), metav1.ListOptions{})
		must(err)
		say(line{E: "listed", Name: kind.Kind, Count: len(list.Items)})
	}
}

// A manager with a controller of a kind that it was compiled with, and of one that it knows by name alone.
func manager(config *rest.Config, namespace string) {
	config.UserAgent = "manager/1"
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Cache:   cache.Options{DefaultNamespaces: map[string]cache.Config{namespace: {}}},
		Metrics: server.Options{BindAddress: "0"},
	})
	must(err)
	deployment := &unstructured.Unstructured{}
	deployment.SetGroupVersionKind(schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"})
	for name, object := range map[string]client.Object{"configmap": &corev1.ConfigMap{}, "deployment": deployment} {
		reconciles := reconcile.Func(func(_ context.Context, r reconcile.Request) (reconcile.Result, error) {
			say(line{E: "reconcile", Name: fmt.Sprintf("%s/%s", name, r.Name)})
			return reconcile.Result{}, nil
		})
		must(ctrl.NewControllerManagedBy(manager).Named(name).For(object).Complete(reconciles))
	}
	must(manager.Start(ctrl.SetupSignalHandler()))
}
