// Command client-go is a program of client-go 0.34, which does not know WatchList by default. It prints one JSON object a
// line; "t" is CLOCK_MONOTONIC in nanoseconds.
//
//	client-go watch KUBECONFIG NAMESPACE     an informer of the ConfigMaps of a namespace:
//	    {"e":"request","verb":"list"|"watch"|"watchlist"}  {"e":"synced"}
//	    {"e":"add"|"update"|"delete","name":..,"rv":..,"initial":..}
//	client-go lead KUBECONFIG NAMESPACE ID   one of those that would lead, by a Lease:
//	    {"e":"leading"}  {"e":"lost"}  {"e":"leader","id":..}
//	client-go read KUBECONFIG AGENT          lists as this program, in JSON and in protobuf, and compares the two; then
//	    {"e":"read","name":"services","count":..}  for each resource, or an error
//	client-go discover KUBECONFIG NAMESPACE  what helm asks before it knows anything, and lists of two kinds:
//	    {"e":"version"|"resources"|"openapi"|"listed","name":..,"count":..}
//	client-go manager KUBECONFIG NAMESPACE   a manager of controller-runtime with two controllers:
//	    {"e":"reconcile","name":"configmap/.."|"deployment/.."}
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

type line struct {
	E       string `json:"e"`
	T       int64  `json:"t"`
	Verb    string `json:"verb,omitempty"`
	Name    string `json:"name,omitempty"`
	RV      string `json:"rv,omitempty"`
	Initial bool   `json:"initial,omitempty"`
	ID      string `json:"id,omitempty"`
	Count   int    `json:"count,omitempty"`
}

var (
	outMu sync.Mutex
	out   = json.NewEncoder(os.Stdout)
)

func say(l line) {
	var ts unix.Timespec
	must(unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts))
	l.T = ts.Nano()
	outMu.Lock()
	defer outMu.Unlock()
	must(out.Encode(l))
}

type asks struct{ next http.RoundTripper }

func (a asks) RoundTrip(r *http.Request) (*http.Response, error) {
	query, verb := r.URL.Query(), "list"
	switch {
	case query.Get("sendInitialEvents") == "true":
		verb = "watchlist"
	case query.Get("watch") == "true":
		verb = "watch"
	}
	say(line{E: "request", Verb: verb})
	return a.next.RoundTrip(r)
}

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: client-go watch|lead|discover|manager KUBECONFIG NAMESPACE [ID] | read KUBECONFIG AGENT")
		os.Exit(2)
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Args[2])
	must(err)
	switch os.Args[1] {
	case "watch":
		watch(config, os.Args[3])
	case "lead":
		lead(config, os.Args[3], os.Args[4])
	case "read":
		read(config, os.Args[3])
	case "discover":
		dynamically(config, os.Args[3])
	case "manager":
		manager(config, os.Args[3])
	}
}

// items of each list that the hub's filters are about.
func items(c *kubernetes.Clientset) map[string]any {
	ctx, all := context.Background(), metav1.ListOptions{}
	services, err := c.CoreV1().Services("").List(ctx, all)
	must(err)
	maps, err := c.CoreV1().ConfigMaps("").List(ctx, all)
	must(err)
	secrets, err := c.CoreV1().Secrets("").List(ctx, all)
	must(err)
	pods, err := c.CoreV1().Pods("").List(ctx, all)
	must(err)
	endpoints, err := c.CoreV1().Endpoints("").List(ctx, all)
	must(err)
	slices, err := c.DiscoveryV1().EndpointSlices("").List(ctx, all)
	must(err)
	return map[string]any{
		"services": services.Items, "configmaps": maps.Items, "secrets": secrets.Items,
		"pods": pods.Items, "endpoints": endpoints.Items, "endpointslices": slices.Items,
	}
}

func read(config *rest.Config, agent string) {
	config.UserAgent = agent + "/0.34"
	encoded := func(contentType string) map[string]any {
		own := rest.CopyConfig(config)
		own.ContentType, own.AcceptContentTypes = contentType, contentType
		return items(kubernetes.NewForConfigOrDie(own))
	}
	asJSON, asProtobuf := encoded("application/json"), encoded("application/vnd.kubernetes.protobuf")
	for name, one := range asJSON {
		a, b := reflect.ValueOf(one), reflect.ValueOf(asProtobuf[name])
		for at := 0; at < a.Len() && at < b.Len(); at++ {
			x, y := a.Index(at).Addr().Interface(), b.Index(at).Addr().Interface()
			if !equality.Semantic.DeepEqual(x, y) {
				must(fmt.Errorf("%s differ: %v %v", name, x, y))
			}
		}
		if a.Len() != b.Len() {
			must(fmt.Errorf("%s: %d in JSON, %d in protobuf", name, a.Len(), b.Len()))
		}
		say(line{E: "read", Name: name, Count: a.Len()})
	}
}

func watch(config *rest.Config, namespace string) {
	config.UserAgent = "client-go/0.34"
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return asks{next} })
	factory := informers.NewSharedInformerFactoryWithOptions(
		kubernetes.NewForConfigOrDie(config), 0, informers.WithNamespace(namespace))
	informer := factory.Core().V1().ConfigMaps().Informer()
	show := func(e string, object any, initial bool) {
		if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
			object = gone.Obj
		}
		if m, ok := object.(*corev1.ConfigMap); ok {
			say(line{E: e, Name: m.Name, RV: m.ResourceVersion, Initial: initial})
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
		AddFunc:    func(o any, initial bool) { show("add", o, initial) },
		UpdateFunc: func(_, o any) { show("update", o, false) },
		DeleteFunc: func(o any) { show("delete", o, false) },
	})
	must(err)
	ctx := context.Background()
	factory.Start(ctx.Done())
	cache.WaitForCacheSync(ctx.Done(), informer.HasSynced)
	say(line{E: "synced", Count: len(informer.GetStore().ListKeys())})
	<-ctx.Done()
	select {}
}

func lead(config *rest.Config, namespace, id string) {
	clients := kubernetes.NewForConfigOrDie(config)
	for {
		leaderelection.RunOrDie(context.Background(), leaderelection.LeaderElectionConfig{
			Lock: &resourcelock.LeaseLock{
				LeaseMeta:  metav1.ObjectMeta{Name: "lead", Namespace: namespace},
				Client:     clients.CoordinationV1(),
				LockConfig: resourcelock.ResourceLockConfig{Identity: id},
			},
			LeaseDuration: 4 * time.Second,
			RenewDeadline: 3 * time.Second,
			RetryPeriod:   500 * time.Millisecond,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(context.Context) { say(line{E: "leading"}) },
				OnStoppedLeading: func() { say(line{E: "lost"}) },
				OnNewLeader:      func(id string) { say(line{E: "leader", ID: id}) },
			},
		})
	}
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "client-go:", err)
		os.Exit(1)
	}
}
