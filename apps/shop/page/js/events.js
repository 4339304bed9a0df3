// The live stream of events: a bounded list that stays cheap at hundreds of events a second.

import { byId, h, painter, setText } from './dom.js';
import { clock, count, plural, serviceOf, tail } from './format.js';

const KEPT = 1000;
const ROWS = 120;

/** Oldest first, at most KEPT. */
let kept = [];
let waiting = [];
let pausedByHand = false;
let filter = { text: '', service: '' };
let perSecond = Array(60).fill(0);
let thisSecond = 0;
const list = byId('event-list');
/** Eight steps a second are as many as an eye follows; more would only be painted. */
const draw = painter(flush, 125);

export function start() {
  byId('pause').addEventListener('click', () => setPaused(!pausedByHand));
  byId('filter').addEventListener('input', refilter);
  byId('filter-service').addEventListener('change', refilter);
  list.addEventListener('click', open);
  list.addEventListener('keydown', move);
  list.addEventListener('focusout', () => draw());
  setInterval(drawRate, 1000);
}

/** The names for the filter's choice, once the shop has told them. */
export function nameServices(names) {
  const select = byId('filter-service');
  if (select.options.length === 1) select.append(...names.map((name) => h('option', { value: name }, name)));
}

export function observe(records) {
  thisSecond += records.length;
  waiting.push(...records);
  if (waiting.length > KEPT) waiting = waiting.slice(-KEPT);
  draw();
}

/** A list that moves cannot be read: it stands still while it has the focus or shows an open event. */
const reading = () => list.contains(document.activeElement) || list.querySelector('[aria-expanded=true]') !== null;

function setPaused(paused) {
  pausedByHand = paused;
  byId('pause').setAttribute('aria-pressed', String(paused));
  if (!paused) {
    list.querySelectorAll('[aria-expanded=true]').forEach((button) => fold(button));
    if (list.contains(document.activeElement)) byId('pause').focus();
  }
  draw();
}

function flush() {
  const held = pausedByHand || reading();
  byId('held').hidden = !(held && waiting.length > 0);
  setText(byId('pause'), held ? 'Resume' : 'Pause');
  if (held) {
    setText(byId('held'), `${waiting.length >= KEPT ? `more than ${count(KEPT)}` : count(waiting.length)} new since you ${pausedByHand ? 'paused' : 'began to read'}`);
    return;
  }
  const fresh = waiting;
  waiting = [];
  kept = kept.concat(fresh).slice(-KEPT);
  prepend(fresh.filter(matches).slice(-ROWS));
}

function prepend(records) {
  list.prepend(...records.map(row).reverse());
  while (list.children.length > ROWS) list.lastElementChild.remove();
  byId('events-empty').hidden = list.children.length > 0;
  setText(byId('events-empty'), kept.length > 0 ? 'No event matches the filter.' : 'No events yet.');
  // The list's one tab stop is its newest event, until the arrows move it.
  list.querySelector(':scope > li > [tabindex="0"]')?.setAttribute('tabindex', '-1');
  list.querySelector('button')?.setAttribute('tabindex', '0');
}

function refilter() {
  filter = { text: byId('filter').value.trim().toLowerCase(), service: byId('filter-service').value };
  kept = kept.concat(waiting).slice(-KEPT);
  waiting = [];
  list.replaceChildren();
  prepend(kept.filter(matches).slice(-ROWS));
  draw();
}

function matches(record) {
  if (filter.service && record.service !== filter.service) return false;
  if (!filter.text) return true;
  record.text ??= JSON.stringify(record.event).toLowerCase();
  return record.text.includes(filter.text);
}

function row(record) {
  const { event } = record;
  record.service ??= serviceOf(event.source);
  const button = h('button', { type: 'button', 'aria-expanded': 'false', tabindex: '-1' },
    h('time', {}, clock(event.timestamp)), h('span', { class: 'service' }, record.service), h('span', { class: 'type' }, event.eventType),
    h('code', { class: 'key' }, tail(record.key)), h('code', { class: 'id' }, tail(event.eventId)));
  const item = h('li', { 'data-service': record.service }, button);
  item.record = record;
  return item;
}

function open(click) {
  const button = click.target.closest('button');
  if (!button || !list.contains(button)) return;
  if (button.classList.contains('follow')) return follow(button.dataset.id);
  if (button.getAttribute('aria-expanded') === 'true') fold(button);
  else unfold(button);
  draw();
}

function unfold(button) {
  const { record } = button.parentElement;
  const { topic, partition, offset, event } = record;
  const fact = (name, value) => h('div', {}, h('dt', {}, name), h('dd', {}, value));
  const correlation = h('button', { type: 'button', class: 'follow', 'data-id': event.correlationId ?? '' }, event.correlationId ?? '');
  button.after(h('div', { class: 'detail' },
    h('dl', {}, fact('event', event.eventId), fact('correlation', event.correlationId ? correlation : 'none'), fact('caused by', event.causationId ?? 'nothing before it'), fact('key', record.key ?? 'none'), fact('position', `${topic}, partition ${partition}, offset ${offset}`)),
    h('pre', { tabindex: '0', 'aria-label': 'The event as JSON' }, JSON.stringify(event, null, 2))));
  button.setAttribute('aria-expanded', 'true');
}

function fold(button) {
  button.nextElementSibling?.remove();
  button.setAttribute('aria-expanded', 'false');
}

/** Shows all that one request led to, in every service. */
function follow(correlationId) {
  byId('filter').value = correlationId;
  byId('filter-service').value = '';
  byId('filter').focus();
  refilter();
}

/** One tab stop for the whole list; arrows move in it. */
function move(event) {
  const item = event.target.closest('li');
  if (!item || event.target !== item.firstElementChild) return;
  const to = { ArrowDown: item.nextElementSibling, ArrowUp: item.previousElementSibling, Home: list.firstElementChild, End: list.lastElementChild }[event.key];
  if (event.key === 'Escape') setPaused(false);
  if (!to) return;
  event.preventDefault();
  item.firstElementChild.setAttribute('tabindex', '-1');
  to.firstElementChild.setAttribute('tabindex', '0');
  to.firstElementChild.focus();
}

function drawRate() {
  perSecond = [...perSecond.slice(1), thisSecond];
  thisSecond = 0;
  if (document.hidden) return;
  const most = Math.max(5, ...perSecond);
  const points = perSecond.map((n, i) => `${((60 * i) / 59).toFixed(1)},${(15 - (14 * n) / most).toFixed(1)}`).join(' ');
  byId('spark').firstElementChild.setAttribute('points', points);
  setText(byId('rate'), `${count(perSecond.at(-1))} /s`);
  byId('rate').title = plural(kept.length, 'event') + ' kept on this page';
}
