// Elements described as plain objects, of which only differences are applied to the page: focus, scroll positions and
// opened details survive every refresh, and a thousand rows cost milliseconds.

const SVG = 'http://www.w3.org/2000/svg';

/** Creates an element: `h('td', { class: 'number' }, '12')`. A `key` among the properties identifies it among siblings. */
export function h(tag, props, ...kids) {
  return { tag, props: props ?? {}, kids: kids.flat(Infinity).filter(present).map(textOf) };
}

const present = (kid) => kid !== null && kid !== undefined && kid !== false && kid !== '';
const textOf = (kid) => (typeof kid === 'object' ? kid : String(kid));

/** Makes the children of `parent` match `kids`. */
export function draw(parent, ...kids) {
  const wanted = h('', null, ...kids).kids;
  reconcile(parent, parent.drawn ?? [], wanted, parent.namespaceURI === SVG);
  parent.drawn = wanted;
}

function make(wanted, inSvg) {
  if (typeof wanted === 'string') return document.createTextNode(wanted);
  const svg = inSvg || wanted.tag === 'svg';
  const node = svg ? document.createElementNS(SVG, wanted.tag) : document.createElement(wanted.tag);
  for (const kid of wanted.kids) node.append(make(kid, svg));
  for (const [name, value] of Object.entries(wanted.props)) set(node, name, value);
  return node;
}

function set(node, name, value) {
  if (name === 'key') return;
  if (name.startsWith('on') || name === 'value' || name === 'checked' || name === 'disabled') node[name] = value ?? null;
  else if (value === null || value === undefined || value === false) node.removeAttribute(name);
  else node.setAttribute(name, value === true ? '' : String(value));
}

function update(node, old, wanted, svg) {
  if (old === wanted) return;
  for (const name of Object.keys(old.props)) {
    // properties that the browser sets itself (an opened detail) are left alone
    if (!(name in wanted.props)) set(node, name, null);
  }
  for (const [name, value] of Object.entries(wanted.props)) {
    const differs = name === 'value' ? node.value !== value : old.props[name] !== value;
    if (differs) set(node, name, value);
  }
  reconcile(node, old.kids, wanted.kids, svg || wanted.tag === 'svg');
}

const keyOf = (kid) => (typeof kid === 'object' ? kid.props.key : undefined);
const alike = (a, b) => (typeof a === 'string' ? typeof b === 'string' : typeof b === 'object' && a.tag === b.tag);

function reconcile(parent, old, wanted, svg) {
  if (wanted.length > 0 && keyOf(wanted[0]) !== undefined) return reconcileKeyed(parent, old, wanted, svg);
  const nodes = [...parent.childNodes];
  wanted.forEach((kid, at) => {
    const [node, before] = [nodes[at], old[at]];
    if (node === undefined || before === undefined) parent.append(make(kid, svg));
    else if (!alike(before, kid) || keyOf(before) !== keyOf(kid)) parent.replaceChild(make(kid, svg), node);
    else if (typeof kid === 'string') node.data === kid || (node.data = kid);
    else update(node, before, kid, svg);
  });
  for (const node of nodes.slice(wanted.length)) node.remove();
}

function reconcileKeyed(parent, old, wanted, svg) {
  const nodes = [...parent.childNodes];
  const there = new Map();
  old.forEach((kid, at) => there.set(keyOf(kid), [nodes[at], kid]));
  let place = parent.firstChild;
  for (const kid of wanted) {
    const [node, before] = there.get(keyOf(kid)) ?? [];
    there.delete(keyOf(kid));
    if (node !== undefined && alike(before, kid)) {
      update(node, before, kid, svg);
      if (node === place) place = place.nextSibling;
      else parent.insertBefore(node, place);
    } else {
      parent.insertBefore(make(kid, svg), place);
      node?.remove();
    }
  }
  while (place !== null) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
  // nodes that are left in the map were removed after `place`, or with a replacement
}
