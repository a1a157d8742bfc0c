// Numbers, times and elements as people read them.

/** A number with a comma between groups of three digits. */
function grouped(number) {
  return Math.round(number).toString().replace(/\B(?=(\d{3})+$)/g, ',');
}

function samplesText(samples) {
  return `${grouped(samples)} ${samples === 1 ? 'sample' : 'samples'}`;
}

/** A share, with two digits behind the point, as the report has it. */
function percent(part, whole) {
  return whole > 0 ? `${(100 * part / whole).toFixed(2)}%` : '–';
}

/** A difference of shares, in points of a percent. */
function points(difference) {
  const rounded = (100 * difference).toFixed(2);
  if (Number(rounded) === 0) return '0.00';
  return difference > 0 ? `+${rounded}` : `−${rounded.slice(1)}`;
}

/** Half the width of the 95 % confidence interval of a share (Wilson's). */
function errorOf(part, whole) {
  if (!whole) return 0;
  const z = 1.959963984540054, p = part / whole;
  return z / (1 + z * z / whole) * Math.sqrt(p * (1 - p) / whole + z * z / (4 * whole * whole));
}

/** How a share has changed: to within `error` (95 %), as if each sample were drawn by itself. `z` is
 *  how many standard deviations that is if both shares are the same. */
function change(samples, all, base, baseAll) {
  if (!all || !baseAll) return { difference: 0, error: 0, z: 0, isSignificant: false };
  const difference = samples / all - base / baseAll;
  const error = Math.hypot(errorOf(samples, all), errorOf(base, baseAll));
  const pooled = (samples + base) / (all + baseAll);
  const deviation = Math.sqrt(pooled * (1 - pooled) * (1 / all + 1 / baseAll));
  return { difference, error, z: deviation ? Math.abs(difference) / deviation : 0, isSignificant: Math.abs(difference) > error };
}

/** How likely a normal number is to be so many standard deviations off, or more. */
function chanceOf(z) {
  // Numerical Recipes' erfcc: to within a part in ten million.
  const x = z / Math.SQRT2, t = 1 / (1 + x / 2);
  return t * Math.exp(-x * x - 1.26551223 + t * (1.00002368 + t * (0.37409196 + t * (0.09678418 + t * (-0.18628806 +
    t * (0.27886807 + t * (-1.13520398 + t * (1.48851587 + t * (-0.82215223 + t * 0.17087277)))))))));
}

/** Marks which of these changes are significant: of those that are said to be, one in twenty is by
 *  chance at most (Benjamini and Hochberg). */
function judge(changes) {
  const sorted = changes.map(it => ({ it, chance: chanceOf(it.z) })).sort((a, b) => a.chance - b.chance);
  let last = -1;
  sorted.forEach(({ chance }, at) => { if (chance <= 0.05 * (at + 1) / sorted.length) last = at; });
  sorted.forEach(({ it }, at) => { it.isSignificant = at <= last; });
}

/** A length or point of time, in ticks of this clock. */
function timeText(ticks, clock, step = 0) {
  const units = clock === 'ns'
    ? [[1e9, 's'], [1e6, 'ms'], [1e3, 'µs'], [1, 'ns']]
    : [[1e9, 'G ticks'], [1e6, 'M ticks'], [1e3, 'k ticks'], [1, 'ticks']];
  const [scale, unit] = units.find(([scale]) => Math.abs(ticks) >= scale) || units[units.length - 1];
  const digits = step > 0 ? Math.min(6, Math.max(0, Math.ceil(Math.log10(scale / step) - 1e-9))) : 3;
  let text = (ticks / scale).toFixed(digits);
  if (step === 0 && text.includes('.')) text = text.replace(/\.?0+$/, '');
  return `${text} ${unit}`;
}

/** An element with properties and children. Texts become text, never markup. */
function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith('on')) made.addEventListener(key.slice(2), value);
    else if (key in made && key !== 'role') made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.filter(child => child !== null && child !== undefined));
  return made;
}

/** A name that lines may break in, behind the parts of its path. */
function breakable(name) {
  return name.split('::').flatMap((part, at) => (at ? ['::', element('wbr'), part] : [part]));
}

/** A file and line, as short as the page has room for. */
function placeText(file, line) {
  if (!file) return '';
  return line ? `${file}:${line}` : file;
}

/** A function's name without the path before it, but for so many parts; generic arguments stay closed. */
function shortName(name, parts = 0) {
  let depth = 0;
  const starts = [0];
  for (let i = 0; i < name.length; i++) {
    const c = name[i];
    if (c === '<' || c === '(' || c === '[' || c === '{') depth++;
    else if ((c === '>' && name[i - 1] !== '-') || c === ')' || c === ']' || c === '}') depth--;
    else if (depth === 0 && c === ':' && name[i + 1] === ':') {
      // Of a closure, the function that it is in.
      if (name[i + 2] !== '{' && name[i + 2] !== '<') starts.push(i + 2);
      i++;
    }
  }
  return name.slice(starts[Math.max(0, starts.length - 1 - parts)]);
}

/** What a function is a part of: the path before its name, or its file. */
function moduleOf({ name, file, isMark }) {
  if (isMark) return name;
  const plain = name.replace(/^<+&?(mut )?/, '');
  const path = plain.match(/^[\w$]+(?:::[\w$]+)*/);
  if (path && path[0].includes('::')) return path[0].split('::').slice(0, -1).slice(0, 3).join('::');
  return file || name;
}

function hashOf(text) {
  let hash = 2166136261;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 16777619);
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 0x2c1b3c6d);
  return (hash ^ (hash >>> 13)) >>> 0;
}

/** Expressions that a person types: a regular expression, or else the text itself. */
function matcher(text) {
  if (!text) return null;
  try {
    return new RegExp(text, 'i');
  } catch {
    return new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'), 'i');
  }
}
