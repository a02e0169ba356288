// What a LuCI view needs of LuCI: the loader that reads its "require" lines, E(), _(), String.format(), and of rpcd the
// one call that these views make, answered with what a hub has said.

window._ = (text) => text;
String.prototype.format = function(...values) {
	return this.replace(/%(%|s|d)/g, (whole, kind) => kind == '%' ? '%' : kind == 'd' ? String(Math.floor(values.shift())) : String(values.shift()));
};
window.E = (name, attributes, children) => {
	if (attributes === null || typeof attributes != 'object' || Array.isArray(attributes))
		[attributes, children] = [{}, attributes];
	const node = document.createElement(name);
	Object.keys(attributes).forEach((key) => node.setAttribute(key, attributes[key]));
	[].concat(children === undefined ? [] : children).flat().forEach((child) => node.append(child));
	return node;
};

const polled = [];
const calls = [];
const modules = {
	view: { extend: (members) => members },
	poll: { add: (what) => polled.push(what) },
	fs: { exec: (command, words) => {
		calls.push([command].concat(words).join(' '));
		return Promise.resolve(window.answer);
	} },
	form: null
};

// Of a form: what was asked for, as text.
function option(kind, name, title) {
	return { kind: kind, name: name, title: title, value: () => {}, depends: () => {} };
}
function part(node) {
	return { option: (kind, name, title) => {
		const made = option(kind, name, title);
		node.append(E('p', { 'class': 'option', 'data-name': name, 'data-kind': kind.what }, title));
		(window.options = window.options || {})[name] = made;
		return made;
	} };
}
modules.form = {
	Map: function(config, title) {
		this.node = E('div', { 'data-config': config }, title);
		this.section = (kind, name) => part(this.node);
		this.render = () => this.node;
	}
};
['Flag', 'Value', 'ListValue', 'DynamicList', 'NamedSection', 'TypedSection'].forEach((what) => modules.form[what] = { what: what });

window.show = (source) => {
	const names = [...source.matchAll(/^'require (\w+)';$/mg)].map((found) => found[1]);
	const made = new Function(...names, source)(...names.map((name) => modules[name]));
	return Promise.resolve(made.load ? made.load() : null).then((data) => document.body.append(made.render(data)));
};
window.again = () => Promise.all(polled.map((what) => what()));
window.calls = calls;
