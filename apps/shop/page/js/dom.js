// Everything shown is set as text: no string from the shop is ever parsed as HTML.

const SVG = 'http://www.w3.org/2000/svg';

export const byId = (id) => document.getElementById(id);

/** Makes an element: `h('button', {type: 'button', class: 'x'}, 'text', child)`. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, '');
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** A symbol of the page, drawn in the colour of the text. */
export function icon(name, box = 24) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', `0 0 ${box} ${box}`);
  svg.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS(SVG, 'use');
  use.setAttribute('href', `#${name}`);
  svg.append(use);
  return svg;
}

/** Writes only what changed, so that an update of equal figures costs no layout. */
export function setText(element, text) {
  const next = String(text);
  if (element.textContent !== next) element.textContent = next;
}

/** The same for an attribute; `null` takes it away. */
export function setAttribute(element, name, value) {
  if (value == null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/** Makes `parent` hold exactly `nodes`, in order, touching only those out of place. */
export function arrange(parent, nodes) {
  nodes.forEach((node, index) => {
    if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] ?? null);
  });
  while (parent.children.length > nodes.length) parent.lastElementChild.remove();
}

/** Runs `draw` once before a paint, however often it is asked for until then; at most once in `gap` ms. */
export function painter(draw, gap = 0) {
  let asked = false;
  let last = -gap;
  const run = () => {
    asked = false;
    last = performance.now();
    draw();
  };
  return () => {
    if (asked) return;
    asked = true;
    const wait = last + gap - performance.now();
    // A hidden page paints no frames, and must not let its work pile up.
    if (document.hidden) setTimeout(run, 250);
    else if (wait > 0) setTimeout(() => requestAnimationFrame(run), wait);
    else requestAnimationFrame(run);
  };
}

/** Tells a screen reader, without showing anything. */
export function announce(text) {
  setText(byId('announce'), text);
}

let toastTimer;

/** Shows a short message at the foot of the page and reads it out. */
export function toast(text) {
  const element = byId('toast');
  setText(element, text);
  element.dataset.shown = 'yes';
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => {
    delete element.dataset.shown;
  }, 6000);
}
