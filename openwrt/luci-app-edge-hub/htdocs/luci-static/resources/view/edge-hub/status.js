'use strict';
'require fs';
'require poll';
'require view';

// What `edge-hub status --json` says, as pictures: the link, the servers, what is kept and how the flash wears.
// Everything in it was told by somebody else: make() sees to it that it becomes text nodes, never markup.

const ASK = ['status', '--json', '--config', '/var/etc/edge-hub/config.json'];

// The one place that calls E(), which puts a text that stands alone into innerHTML and makes a text node only of one in
// a list.
function make(name, attributes, children = []) {
	return E(name, attributes, [].concat(children));
}

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
	const known = ['up', 'down'].includes(state) ? state : 'unknown';
	const [colour, word] = { up: ['#2a8a3a', _('up')], down: ['#c0392b', _('down')], unknown: ['#888', _('not known yet')] }[known];
	return make('strong', { 'class': 'eh-' + known, 'style': 'color:' + colour }, word);
}

// A bar of `part` in `whole`; red when little is left.
function bar(id, part, whole, text) {
	const percent = whole > 0 ? Math.min(100, Math.round(100 * part / whole)) : 0;
	return make('div', { 'id': id, 'class': 'cbi-progressbar', 'title': text, 'data-percent': percent }, [
		make('div', { 'style': 'width:%d%%;background:%s'.format(percent, percent < 90 ? '#3a7bd5' : '#c0392b') })
	]);
}

function table(id, heads, rows, none) {
	return make('table', { 'class': 'table', 'id': id }, [
		make('tr', { 'class': 'tr table-titles' }, heads.map((head) => make('th', { 'class': 'th' }, head)))
	].concat(rows.length
		? rows.map((row) => make('tr', { 'class': 'tr' }, row.map((cell) => make('td', { 'class': 'td' }, [cell]))))
		: [make('tr', { 'class': 'tr placeholder' }, [make('td', { 'class': 'td', 'colspan': heads.length }, none)])]));
}

function section(title, children) {
	return make('div', { 'class': 'cbi-section' }, [make('h3', {}, title)].concat(children));
}

// Collections by program: how much, and whether any does not follow the cloud. A Map, for a program may be called
// `__proto__`.
function byProgram(collections) {
	const programs = new Map();
	collections.forEach((one) => {
		const name = String(one.agent);
		const sum = programs.get(name) || { collections: 0, objects: 0, bytes: 0, followed: 0, age: 0 };
		programs.set(name, sum);
		sum.collections++;
		sum.objects += one.objects;
		sum.bytes += one.bytes;
		sum.followed += one.state == 'complete';
		sum.age = Math.max(sum.age, one.age_secs);
	});
	return [...programs.keys()].sort().map((name) => {
		const sum = programs.get(name);
		return [name, String(sum.collections), String(sum.objects), bytes(sum.bytes),
			_('%d of %d').format(sum.followed, sum.collections), time(sum.age)];
	});
}

function draw(status) {
	const flash = status.store.flash;
	const link = [reach(status.link.state), ' ', _('for %s').format(time(status.link.since_secs))];
	if (status.link.reason)
		link.push(': ', status.link.reason);

	const kept = [
		make('p', {}, _('%s of %s, %d objects in %d collections').format(bytes(status.store.bytes), bytes(status.store.bytes_max),
			status.store.objects, status.store.collections)),
		bar('eh-fill', status.store.bytes, status.store.bytes_max, _('room taken'))
	];
	if (flash) {
		const used = flash.daily_bytes - flash.left_bytes;
		kept.push(make('p', {}, _('Written today: %s of %s; since it was made: %s').format(bytes(used), bytes(flash.daily_bytes),
			bytes(flash.life_bytes))), bar('eh-wear', used, flash.daily_bytes, _("the day's writes")));
		if (flash.off)
			kept.push(make('p', { 'class': 'alert-message warning' }, _('Nothing is written any more: %s').format(flash.off)));
	} else {
		kept.push(make('p', {}, _('In memory: a restart forgets it.')));
	}

	return make('div', { 'id': 'edge-hub' }, [
		make('h2', {}, 'edge-hub ' + status.version),
		make('div', { 'id': 'eh-warnings' }, status.warnings.map((text) => make('p', { 'class': 'alert-message warning' }, [text]))),
		section(_('Link'), [make('p', { 'id': 'eh-link' }, link)]),
		section(_('Servers'), [table('eh-servers', [_('Server'), _('State'), _('Since'), _('Requests'), _('Last error')],
			status.servers.map((one) => [one.url, reach(one.state), time(one.since_secs), String(one.streams), one.last_error || '-']),
			_('none'))]),
		section(_('What is kept'), kept.concat([table('eh-programs',
			[_('Program'), _('Collections'), _('Objects'), _('Size'), _('Followed'), _('Oldest')],
			byProgram(status.collections), _('nothing yet'))])),
		section(_('Answers'), [make('p', { 'id': 'eh-answers' }, _('%d from the servers, %d from what is kept, %d of its own').format(
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
	}).catch((error) => make('div', { 'id': 'edge-hub' }, [
		make('h2', {}, 'edge-hub'),
		make('p', { 'class': 'alert-message warning', 'id': 'eh-silent' }, _('The hub says nothing: %s').format(error.message))
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
		const around = make('div', {}, [page]);
		poll.add(() => look().then((newer) => around.replaceChildren(newer)), 5);
		return around;
	}
});
