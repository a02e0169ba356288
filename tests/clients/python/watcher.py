"""A watcher of the ConfigMaps of one namespace, with the official Python client, that prints what it sees, one JSON
object a line: {"e":"apply","name":..,"rv":..}, {"e":"delete",..}, {"e":"synced"} and {"e":"error","text":..}.

usage: watcher.py SERVER CA TOKEN NAMESPACE stream|informer
       watcher.py in-cluster NAMESPACE stream|informer     as a pod, by what the kubelet gives it
"""

import json
import sys
import threading

import kubernetes
from kubernetes import client, config, watch


def say(**words):
    print(json.dumps(words), flush=True)


def seen(kind, map):
    say(e=kind, name=map.metadata.name, rv=map.metadata.resource_version)


def stream(api, namespace):
    """As the README of the client shows it: a list, and a watch that goes on from its version for ever."""
    listed = api.list_namespaced_config_map(namespace)
    for map in listed.items:
        seen("init-apply", map)
    say(e="synced")
    events = watch.Watch().stream(
        api.list_namespaced_config_map,
        namespace,
        resource_version=listed.metadata.resource_version,
    )
    for event in events:
        kind = {"ADDED": "apply", "MODIFIED": "apply", "DELETED": "delete"}.get(event["type"])
        if kind:
            seen(kind, event["object"])


def informer(api, namespace):
    from kubernetes import informer

    shared = informer.SharedInformer(api.list_namespaced_config_map, namespace=namespace)
    shared.add_event_handler("ADDED", lambda map: seen("apply", map))
    shared.add_event_handler("MODIFIED", lambda map: seen("apply", map))
    shared.add_event_handler("DELETED", lambda map: seen("delete", map))
    shared.add_event_handler("ERROR", lambda error: say(e="error", text=str(error)))
    shared.start()
    threading.Event().wait()


def main():
    *where, namespace, how = sys.argv[1:]
    if where == ["in-cluster"]:
        config.load_incluster_config()
    else:
        server, ca, token = where
        configuration = client.Configuration()
        configuration.host = server
        configuration.ssl_ca_cert = ca
        configuration.api_key = {"authorization": "Bearer " + token}
        client.Configuration.set_default(configuration)
    api = client.CoreV1Api()
    say(e="start", version=kubernetes.__version__)
    {"stream": stream, "informer": informer}[how](api, namespace)
    say(e="end")


main()
