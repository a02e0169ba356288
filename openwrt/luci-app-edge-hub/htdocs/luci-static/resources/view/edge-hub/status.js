'use strict';
'require fs';
'require poll';
'require view';

// What `edge-hub status --json` says, as pictures: the link, the servers, what is kept and how the flash wears.
// Everything in it was told by somebody else: it becomes text nodes, never markup.

const ASK = ['status', '--json', '--config', '/var/etc/edge-hub/config.json'];

function bytes(n) {
	const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
	let at = 0;
	for (; n >= 1024 && at < units.length - 1; at++)
		n /= 1024;
	return '%s %s'.format(at ? n.toFixed(1) : n, units[at]);
}

function time(secs) {
	if (secs < 120)
		return _('%d s').format(secs);
	if (secs < 7200)
		return _('%d min').format(secs / 60);
	if (secs < 172800)
		return _('%d h').format(secs / 3600);
	return _('%d days').format(secs / 86400);
}

function reach(state) {
	const colours = { up: '#2a8a3a', down: '#c0392b' };
	return E('strong', { 'class': 'eh-' + (colours[state] ? state : 'unknown'), 'style': 'color:' + (colours[state] || '#888') },
		state == 'up' ? _('up') : state == 'down' ? _('down') : _('not known yet'));
}

// A bar of `part` in `whole`; red when little is left.
function bar(id, part, whole, text) {
	const percent = whole > 0 ? Math.min(100, Math.round(100 * part / whole)) : 0;
	return E('div', { 'id': id, 'class': 'cbi-progressbar', 'title': text, 'data-percent': percent }, [
		E('div', { 'style': 'width:%d%%;background:%s'.format(percent, percent < 90 ? '#3a7bd5' : '#c0392b') })
	]);
}

function table(id, heads, rows, none) {
	return E('table', { 'class': 'table', 'id': id }, [
		E('tr', { 'class': 'tr table-titles' }, heads.map((head) => E('th', { 'class': 'th' }, head)))
	].concat(rows.length
		? rows.map((row) => E('tr', { 'class': 'tr' }, row.map((cell) => E('td', { 'class': 'td' }, [cell]))))
		: [E('tr', { 'class': 'tr placeholder' }, [E('td', { 'class': 'td', 'colspan': heads.length }, none)])]));
}

function section(title, children) {
	return E('div', { 'class': 'cbi-section' }, [E('h3', title)].concat(children));
}

// Collections by program: how much, and whether any does not follow the cloud.
function byProgram(collections) {
	const programs = {};
	collections.forEach((one) => {
		const sum = programs[one.agent] = programs[one.agent] || { collections: 0, objects: 0, bytes: 0, followed: 0, age: 0 };
		sum.collections++;
		sum.objects += one.objects;
		sum.bytes += one.bytes;
		sum.followed += one.state == 'complete';
		sum.age = Math.max(sum.age, one.age_secs);
	});
	return Object.keys(programs).sort().map((name) => [
		name, String(programs[name].collections), String(programs[name].objects), bytes(programs[name].bytes),
		_('%d of %d').format(programs[name].followed, programs[name].collections), time(programs[name].age)
	]);
}

function draw(status) {
	const flash = status.store.flash;
	const link = [reach(status.link.state), ' ', _('for %s').format(time(status.link.since_secs))];
	if (status.link.reason)
		link.push(': ', status.link.reason);

	const kept = [
		E('p', _('%s of %s, %d objects in %d collections').format(bytes(status.store.bytes), bytes(status.store.bytes_max),
			status.store.objects, status.store.collections)),
		bar('eh-fill', status.store.bytes, status.store.bytes_max, _('room taken'))
	];
	if (flash) {
		const used = flash.daily_bytes - flash.left_bytes;
		kept.push(E('p', _('Written today: %s of %s; since it was made: %s').format(bytes(used), bytes(flash.daily_bytes),
			bytes(flash.life_bytes))), bar('eh-wear', used, flash.daily_bytes, _("the day's writes")));
		if (flash.off)
			kept.push(E('p', { 'class': 'alert-message warning' }, _('Nothing is written any more: %s').format(flash.off)));
	} else {
		kept.push(E('p', _('In memory: a restart forgets it.')));
	}

	return E('div', { 'id': 'edge-hub' }, [
		E('h2', 'edge-hub ' + status.version),
		E('div', { 'id': 'eh-warnings' }, status.warnings.map((text) => E('p', { 'class': 'alert-message warning' }, [text]))),
		section(_('Link'), [E('p', { 'id': 'eh-link' }, link)]),
		section(_('Servers'), [table('eh-servers', [_('Server'), _('State'), _('Since'), _('Requests'), _('Last error')],
			status.servers.map((one) => [one.url, reach(one.state), time(one.since_secs), String(one.streams), one.last_error || '-']),
			_('none'))]),
		section(_('What is kept'), kept.concat([table('eh-programs',
			[_('Program'), _('Collections'), _('Objects'), _('Size'), _('Followed'), _('Oldest')],
			byProgram(status.collections), _('nothing yet'))])),
		section(_('Answers'), [E('p', { 'id': 'eh-answers' }, _('%d from the servers, %d from what is kept, %d of its own').format(
			status.requests.cloud, status.requests.cache, status.requests.hub))]),
		section(_('Certificates'), [table('eh-certificates', [_('What for'), _('Subject'), _('Days left')],
			status.certificates.map((one) => [one.what, one.subject, String(one.days_left)]), _('none'))])
	]);
}

function look() {
	return fs.exec('/usr/bin/edge-hub', ASK).then((ended) => {
		if (ended.code != 0)
			throw new Error(ended.stderr || _('it does not run'));
		return draw(JSON.parse(ended.stdout));
	}).catch((error) => E('div', { 'id': 'edge-hub' }, [
		E('h2', 'edge-hub'),
		E('p', { 'class': 'alert-message warning', 'id': 'eh-silent' }, _('The hub says nothing: %s').format(error.message))
	]));
}

return view.extend({
	handleSaveApply: null,
	handleSave: null,
	handleReset: null,

	load: function() {
		return look();
	},

	render: function(page) {
		const around = E('div', {}, [page]);
		poll.add(() => look().then((newer) => around.replaceChildren(newer)), 5);
		return around;
	}
});
