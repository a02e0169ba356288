// What a LuCI view needs of LuCI: the loader that reads its "require" lines, E(), _(), String.format(), and of rpcd the
// one call that these views make, answered with what a hub has said. E() does as luci.js does, traps too: a text that
// stands alone is markup, and nothing in a list is the text "null".

window._ = (text) => text;
String.prototype.format = function(...values) {
	return this.replace(/%(%|s|d)/g, (whole, kind) => kind == '%' ? '%' : kind == 'd' ? String(~~(+values.shift() || 0)) : String(values.shift()));
};
const dom = {
	elem: (what) => what != null && typeof what == 'object' && 'nodeType' in what,
	attr: (node, attributes) => {
		for (const [key, value] of Object.entries(attributes || {})) {
			if (value == null)
				continue;
			if (typeof value == 'function')
				node.addEventListener(key, value);
			else
				node.setAttribute(key, typeof value == 'object' ? JSON.stringify(value) : value);
		}
	},
	append: (node, children) => {
		if (Array.isArray(children))
			children.forEach((child) => node.appendChild(dom.elem(child) ? child : document.createTextNode('' + child)));
		else if (typeof children == 'function')
			dom.append(node, children(node));
		else if (dom.elem(children))
			node.appendChild(children);
		else if (children != null) {
			// The test looks for this; no view here has a use for markup.
			document.body.dataset.markup = children;
			node.innerHTML = '' + children;
		}
	},
	content: (node, children) => {
		node.replaceChildren();
		dom.append(node, children);
	}
};
window.E = (name, attributes, children) => {
	if (!(attributes instanceof Object) || Array.isArray(attributes))
		[attributes, children] = [null, attributes];
	const node = document.createElement(name);
	dom.attr(node, attributes);
	dom.append(node, children);
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
		node.append(E('p', { 'class': 'option', 'data-name': name, 'data-kind': kind.what }, [title]));
		(window.options = window.options || {})[name] = made;
		return made;
	} };
}
modules.form = {
	Map: function(config, title) {
		this.node = E('div', { 'data-config': config }, [title]);
		this.section = (kind, name) => part(this.node);
		this.render = () => this.node;
	}
};
['Flag', 'Value', 'ListValue', 'DynamicList', 'NamedSection', 'TypedSection'].forEach((what) => modules.form[what] = { what: what });

window.show = (source) => {
	const names = [...source.matchAll(/^'require (\w+)';$/mg)].map((found) => found[1]);
	const made = new Function(...names, source)(...names.map((name) => modules[name]));
	const shown = document.body.appendChild(E('div', { 'id': 'view' }));
	return Promise.resolve(made.load ? made.load() : null).then((data) => dom.content(shown, made.render(data)));
};
window.again = () => Promise.all(polled.map((what) => what()));
window.calls = calls;
