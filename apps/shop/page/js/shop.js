// The storefront: products, cart and checkout.

import { arrange, announce, byId, h, icon, setAttribute, setText, toast } from './dom.js';
import { amount, count, plural, setCurrency } from './format.js';
import { Problem, get, idempotencyKey, post } from './api.js';

const MOST_OF_ONE = 99;

// Not every machine has a font with emoji, so each product's is drawn by a symbol of the page.
const SYMBOLS = {
  'i-leaf': '🍵🍃🌿🌱🪴', 'i-cup': '☕🫖🥛🧋', 'i-jar': '🍯🫙🧂🥫', 'i-thread': '🧵🧶🪡', 'i-cloth': '🥻👘🛏', 'i-rickshaw': '🛺🚲🛵', 'i-bag': '👜🎒🛍👛🧺',
  'i-sweet': '🍪🍫🍬📦', 'i-pot': '🏺⚱🪔', 'i-fruit': '🥭🍋🌶🍎', 'i-boat': '🛶⛵🚤', 'i-scarf': '🧣👔', 'i-book': '📓📔📒📕📗📘📙📚📖',
};

export const products = new Map();
const cart = new Map();
const cards = new Map();
const lines = new Map();
/** Repeats of one order, after an answer was lost on its way, must stay one order. */
let attemptKey = idempotencyKey();
let placed = () => {};

export function start(onPlaced) {
  placed = onPlaced;
  byId('checkout').addEventListener('submit', (event) => {
    event.preventDefault();
    checkOut();
  });
  drawCart();
}

export async function loadProducts() {
  if (products.size > 0) return;
  const body = await get('/products');
  setCurrency(body.currency ?? 'BDT');
  for (const product of body.products) products.set(product.sku, product);
  byId('products').replaceChildren(...body.products.map(card));
  byId('products').removeAttribute('aria-busy');
}

function symbolOf(product) {
  const emoji = String(product.icon ?? '').replace(/\uFE0F/g, '');
  const known = emoji && Object.entries(SYMBOLS).find(([, all]) => all.includes(emoji));
  return known ? icon(known[0]) : h('span', { class: 'letter' }, [...String(product.name)][0] ?? '?');
}

function card(product) {
  const left = h('span', { class: 'left' }, ' ');
  const add = h('button', { type: 'button', 'aria-label': `Add ${product.name} to the cart` }, 'Add');
  add.addEventListener('click', () => change(product.sku, 1));
  const node = h('li', { class: 'product', 'data-sku': product.sku },
    h('div', { class: 'tile' }, symbolOf(product)),
    h('div', { class: 'about' }, h('h3', {}, product.name), h('p', { class: 'muted' }, product.description ?? '')),
    h('div', { class: 'buy' }, h('div', {}, h('strong', {}, amount(product.price)), left), add));
  cards.set(product.sku, { node, left, add });
  return node;
}

/** Shows what is left of each product. */
export function showStock(body) {
  for (const item of body.items) {
    const card = cards.get(item.sku);
    if (!card) continue;
    const state = item.available <= 0 ? 'none' : item.available < 20 ? 'few' : 'many';
    products.get(item.sku).available = item.available;
    setText(card.left, state === 'none' ? 'sold out' : `${count(item.available)} left`);
    setAttribute(card.node, 'data-left', state);
  }
}

function change(sku, by) {
  const product = products.get(sku);
  const quantity = Math.min(MOST_OF_ONE, (cart.get(sku) ?? 0) + by);
  attemptKey = idempotencyKey();
  if (quantity > 0) cart.set(sku, quantity);
  else cart.delete(sku);
  drawCart();
  announce(quantity > 0 ? `${product.name}: ${quantity} in the cart` : `${product.name} taken out of the cart`);
}

function cartLine(sku) {
  const product = products.get(sku);
  const quantity = h('output', {}, '1');
  const sum = h('span', { class: 'sum' });
  const less = h('button', { type: 'button', 'aria-label': `One ${product.name} less` }, '−');
  const more = h('button', { type: 'button', 'aria-label': `One ${product.name} more` }, '+');
  const node = h('li', { class: 'line', 'data-sku': sku }, h('span', { class: 'name' }, product.name), h('span', { class: 'stepper' }, less, quantity, more), sum);
  less.addEventListener('click', () => {
    change(sku, -1);
    // The button under the keyboard's focus may just have gone with its line.
    if (!cart.has(sku)) (byId('cart-lines').querySelector('button') ?? byId('cart')).focus();
  });
  more.addEventListener('click', () => change(sku, 1));
  return { node, quantity, sum };
}

const total = () => [...cart].reduce((sum, [sku, quantity]) => sum + products.get(sku).price * quantity, 0);

function drawCart() {
  const pieces = [...cart.values()].reduce((sum, quantity) => sum + quantity, 0);
  for (const sku of lines.keys()) if (!cart.has(sku)) lines.delete(sku);
  for (const [sku, quantity] of cart) {
    if (!lines.has(sku)) lines.set(sku, cartLine(sku));
    setText(lines.get(sku).quantity, quantity);
    setText(lines.get(sku).sum, amount(products.get(sku).price * quantity));
  }
  arrange(byId('cart-lines'), [...lines.values()].map((line) => line.node));
  byId('cart-empty').hidden = pieces > 0;
  byId('place').disabled = pieces === 0;
  setText(byId('place'), pieces > 0 ? `Place order, ${amount(total())}` : 'Place order');
  setText(byId('cart-total'), pieces > 0 ? plural(pieces, 'piece') : '');
  setText(byId('cart-count'), pieces);
  setAttribute(byId('tocart'), 'aria-label', pieces > 0 ? `Cart, ${plural(pieces, 'piece')}` : 'Cart, empty');
}

async function checkOut() {
  const form = byId('checkout');
  const userId = form.elements.userId.value.trim();
  const email = form.elements.email.value.trim();
  showErrors([]);
  if (!userId) return showErrors([{ field: 'userId', detail: 'Say who is buying.' }]);
  const items = [...cart].map(([sku, quantity]) => ({ sku, quantity }));
  byId('place').disabled = true;
  try {
    const order = await post('/orders', email ? { userId, email, items } : { userId, items }, { 'Idempotency-Key': attemptKey });
    cart.clear();
    attemptKey = idempotencyKey();
    placed(order);
  } catch (error) {
    if (error instanceof Problem) showErrors(error.errors.length > 0 ? error.errors : [{ field: '', detail: error.message }]);
    else showErrors([{ field: '', detail: 'The shop cannot be reached. The cart is kept: place the order again in a moment, it will not be taken twice.' }]);
  } finally {
    drawCart();
  }
}

function showErrors(errors) {
  const fields = { userId: ['user', 'user-error'], email: ['email', 'email-error'] };
  const elsewhere = errors.filter((error) => !fields[error.field]);
  for (const [field, [input, output]] of Object.entries(fields)) {
    const found = errors.find((error) => error.field === field);
    setText(byId(output), found?.detail ?? '');
    setAttribute(byId(input), 'aria-invalid', found ? 'true' : null);
  }
  setText(byId('checkout-error'), elsewhere.map((error) => (error.field ? `${error.field}: ${error.detail}` : error.detail)).join(' '));
  document.querySelector('#checkout [aria-invalid]')?.focus();
}

// Fifty orders at once show the flow under some load. They are strangers' orders, not "my orders".

const BURST = 50;
const AT_A_TIME = 8;
let burst = null;

export function startBurst() {
  byId('burst').addEventListener('click', placeMany);
}

async function placeMany() {
  const choice = [...products.values()].filter((product) => (product.available ?? 1) > 0);
  if (choice.length === 0) return toast('Everything is sold out, so there is nothing to order.');
  burst = { ids: new Set(), refused: 0, created: new Map(), ended: new Map(), started: Date.now() };
  byId('burst').disabled = true;
  let left = BURST;
  const one = async () => {
    while (left > 0) {
      left -= 1;
      const { sku } = choice[Math.floor(Math.random() * choice.length)];
      const userId = `visitor_${100 + Math.floor(Math.random() * 900)}`;
      const order = await post('/orders', { userId, items: [{ sku, quantity: 1 }] }, { 'Idempotency-Key': idempotencyKey() }).catch(() => null);
      if (order) burst.ids.add(order.orderId);
      else burst.refused += 1;
      drawBurst();
    }
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, one));
  byId('burst').disabled = false;
  drawBurst();
}

/** Follows the orders of the last burst through the stream. */
export function observeBurst(records) {
  if (!burst) return;
  for (const { key, event, at } of records) {
    if (event.eventType === 'OrderCreated') burst.created.set(key, at);
    else if (event.eventType === 'OrderConfirmed' || event.eventType === 'OrderRejected') burst.ended.set(key, { at, confirmed: event.eventType === 'OrderConfirmed' });
  }
  drawBurst();
}

function drawBurst() {
  const ended = [...burst.ids].filter((id) => burst.ended.has(id));
  const confirmed = ended.filter((id) => burst.ended.get(id).confirmed).length;
  const took = ended.map((id) => burst.ended.get(id).at - burst.created.get(id)).filter(Number.isFinite).sort((a, b) => a - b);
  const parts = [`${burst.ids.size} accepted`, `${confirmed} confirmed`];
  if (ended.length > confirmed) parts.push(`${ended.length - confirmed} rejected`);
  if (burst.refused > 0) parts.push(`${burst.refused} not accepted`);
  if (took.length > 0) parts.push(`median ${took[Math.floor(took.length / 2)].toFixed(1)} ms`);
  setText(byId('burst-text'), parts.join(' · '));
}
