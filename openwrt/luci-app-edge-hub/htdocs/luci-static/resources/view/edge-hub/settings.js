'use strict';
'require form';
'require view';

return view.extend({
	render: function() {
		let s, o;
		const m = new form.Map('edge-hub', 'edge-hub', _('Keeps a Kubernetes node working while its API server is out of reach.'));

		s = m.section(form.NamedSection, 'main', 'edge-hub');
		s.addremove = false;
		o = s.option(form.Flag, 'enabled', _('Run it'));
		o.rmempty = false;
		o = s.option(form.DynamicList, 'servers', _('API servers'), _('https://HOST:PORT; the first that answers is used.'));
		o.validate = (section, value) => !value || /^https:\/\/[^\/\s]+:\d+$/.test(value) || _('https://HOST:PORT');
		o = s.option(form.Value, 'ca_file', _('CA of the servers'));
		o.placeholder = '/etc/edge-hub/ca.crt';
		o = s.option(form.Value, 'client_ca_file', _('CA of client certificates'), _('Needed for the identities below.'));
		o.optional = true;
		o = s.option(form.ListValue, 'store', _('Answers are kept'));
		o.value('ring', _('on flash'));
		o.value('ram', _('in memory, where a restart forgets them'));
		o = s.option(form.Value, 'cache_dir', _('Folder on flash'));
		o.depends('store', 'ring');
		o.placeholder = '/etc/kubernetes/cache';
		o = s.option(form.Value, 'cache_max_bytes', _('Room for what is kept'));
		o.placeholder = '8MiB';
		o.validate = (section, value) => !value || /^\d+([KMG]iB)?$/.test(value) || _('such as 8MiB');
		o = s.option(form.DynamicList, 'cache_agents', _('Programs'), _('Whose answers are kept beside those of the node itself; * for all, -NAME for not this one.'));

		s = m.section(form.TypedSection, 'identity', _('Identities'), _('Who may come with a client certificate, and with which pair the hub goes up for them.'));
		s.anonymous = true;
		s.addremove = true;
		[['cn', _('Common name')], ['o', _('Organisation')], ['cert', _('Certificate')], ['key', _('Key')]].forEach((one) => {
			o = s.option(form.Value, one[0], one[1]);
			o.rmempty = one[0] == 'o';
		});

		return m.render();
	}
});
