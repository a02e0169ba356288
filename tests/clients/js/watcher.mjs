// An informer of the ConfigMaps of one namespace, with the official JavaScript client, that prints what it sees, one
// JSON object a line: {"e":"apply","name":..,"rv":..}, {"e":"delete",..}, {"e":"synced"} and {"e":"error","text":..}.
//
// usage: watcher.mjs KUBECONFIG NAMESPACE

import { CoreV1Api, KubeConfig, makeInformer } from '@kubernetes/client-node';

const [file, namespace] = process.argv.slice(2);
const say = (words) => console.log(JSON.stringify(words));
const seen = (e) => (map) => say({ e, name: map.metadata.name, rv: map.metadata.resourceVersion });

const config = new KubeConfig();
config.loadFromFile(file);
const api = config.makeApiClient(CoreV1Api);
let lists = 0;
const list = async () => {
  const listed = await api.listNamespacedConfigMap({ namespace });
  lists += 1;
  say({ e: 'list', number: lists, rv: listed.metadata.resourceVersion });
  return listed;
};
const informer = makeInformer(config, `/api/v1/namespaces/${namespace}/configmaps`, list);
informer.on('add', seen('apply'));
informer.on('update', seen('apply'));
informer.on('delete', seen('delete'));
informer.on('connect', () => say({ e: 'connect' }));
// As the examples of the client do it: an informer that fails is started again.
informer.on('error', (error) => {
  say({ e: 'error', text: String(error) });
  setTimeout(() => informer.start().catch((e) => say({ e: 'error', text: String(e) })), 1000);
});
await informer.start().catch((error) => {
  say({ e: 'error', text: String(error) });
  process.exit(1);
});
say({ e: 'synced' });
