// Loaded in the head, before anything is painted: a chosen theme must not flash the other one first.
'use strict';
try {
  const chosen = localStorage.getItem('dhara.theme');
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
} catch {
  // A browser that refuses storage follows the system's preference.
}
