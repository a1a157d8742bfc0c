// The source and the instructions of a function, each with its samples.

class CodeView {
  constructor(box, host) {
    this.box = box;
    this.host = host;
  }

  /** Shows a function, or says why not. */
  show(counts, own) {
    this.box.replaceChildren();
    if (own === null) return this.say('Select a function in another view.');
    const { model, profile } = counts;
    const it = model.functions[own];
    const lines = linesOf(counts, own);
    const listings = this.listingsOf(profile, it.name);
    this.box.append(element('p', { className: 'code-title' },
      element('strong', {}, it.name), ' ', element('span', { className: 'quiet' }, placeText(it.file, it.line)),
      element('span', { className: 'quiet' }, ` · self ${percent(counts.self[own], counts.all)} · total ${percent(counts.total[own], counts.all)}`)));
    if (!listings.length && ![...lines.values()].some(it => it.line !== null)) return this.say('Nothing is known of its code: there are no lines of it, and the page has no instructions of it.');
    const columns = element('div', { className: 'code-columns' });
    const source = this.source(counts, lines, it);
    if (source) columns.append(source);
    for (const listing of listings) columns.append(this.listing(counts, listing, it));
    this.box.append(columns);
    // Where most samples are is in the middle of each listing.
    for (const hottest of columns.querySelectorAll('.hottest')) {
      const box = hottest.parentElement;
      box.scrollTop = hottest.offsetTop - box.offsetTop - box.clientHeight / 2;
    }
    columns.addEventListener('pointerover', event => this.light(columns, event.target.closest('[data-line]')));
  }

  say(text) {
    this.box.replaceChildren(element('p', { className: 'empty' }, text));
  }

  /** The instructions that the page has of a function: of its code, and of code that it is inlined into. */
  listingsOf(profile, name) {
    const { listings, strings } = profile.code;
    if (!listings) return [];
    return listings.filter(listing => listing.frames.some(frames => frames.some(([own]) => strings[own] === name)));
  }

  light(columns, over) {
    const line = over && over.dataset.line;
    if (line === this.lit) return;
    this.lit = line;
    for (const it of columns.querySelectorAll('.lit')) it.classList.remove('lit');
    if (line) for (const it of columns.querySelectorAll('[data-line]')) if (it.dataset.line === line) it.classList.add('lit');
  }

  /** The lines of the function by their files, and behind them its samples of no known line. */
  source(counts, lines, { file: declaredIn, line: declared }) {
    const { profile } = counts;
    const byFile = new Map();
    const knownFirst = [...lines.values()].sort((a, b) => (a.line === null) - (b.line === null));
    for (const it of knownFirst) {
      if (!byFile.has(it.file)) byFile.set(it.file, []);
      byFile.get(it.file).push(it);
    }
    if (!byFile.size) return null;
    const made = element('div', { className: 'code-part' });
    for (const [file, of] of byFile) {
      of.sort((a, b) => a.line - b.line);
      const text = sourceOf(profile, file);
      made.append(element('h3', {}, file === null ? '??' : profile.files[file], text || file === null ? null : element('span', { className: 'quiet' }, ' (the source is not in the page)')));
      const table = element('div', { className: 'listing' });
      const first = declared && declaredIn === profile.files[file] ? Math.min(declared, of[0].line) : of[0].line;
      const numbers = text ? [] : of.map(it => it.line);
      if (text) for (let line = Math.max(1, first - 1); line <= of[of.length - 1].line + 2; line++) if (text.has(line)) numbers.push(line);
      const at = new Map(of.map(it => [it.line, it]));
      const most = Math.max(...of.map(it => it.total));
      for (const line of numbers) {
        const it = at.get(line) || { self: 0, total: 0 };
        table.append(this.row(counts, {
          self: it.self, total: it.total, at: line === null ? '??' : String(line), text: text ? text.get(line) : '',
          key: line === null ? null : `${profile.files[file]}:${line}`, isHottest: it.total > 0 && it.total === most,
        }));
      }
      made.append(table);
    }
    return made;
  }

  row(counts, { self, total, at, text, key, note, isHottest, isFar }) {
    const all = counts.all;
    const share = all ? self / all : 0;
    const made = element('div', { className: `line${isHottest ? ' hottest' : ''}${isFar ? ' far' : ''}` },
      element('span', { className: 'samples', title: self ? samplesText(self) : '' }, self ? percent(self, all) : ''),
      element('span', { className: 'samples quiet', title: total ? samplesText(total) : '' }, total ? percent(total, all) : ''),
      element('span', { className: 'at' }, at),
      element('code', {}, text),
      note ? element('span', { className: 'note' }, note) : null);
    if (key) made.dataset.line = key;
    // A percent is warm already, a tenth is hot.
    made.style.setProperty('--heat', `${Math.min(60, 260 * Math.sqrt(share) * (share > 0 ? 1 : 0)).toFixed(0)}%`);
    return made;
  }

  /** Instructions: those of the function alone, where it is inlined into another. */
  listing(counts, listing, own) {
    const { profile } = counts;
    const { name } = own;
    const { strings } = profile.code;
    const [self, total] = samplesAt(counts, listing);
    const made = element('div', { className: 'code-part' });
    const isOwn = strings[listing.name] === name;
    made.append(element('h3', {}, strings[listing.name], element('span', { className: 'quiet' }, isOwn ? '' : ' (inlined here)')));
    const table = element('div', { className: 'listing asm' });
    const targets = new Set(listing.instructions.map(it => it[3]).filter(target => target !== null));
    let before = null, isGap = false;
    const most = Math.max(...self);
    listing.instructions.forEach(([offset, , text, , framesNumber], index) => {
      const frames = listing.frames[framesNumber];
      const isIts = isOwn || frames.some(([of]) => strings[of] === name);
      if (!isIts) { isGap = true; return; }
      if (isGap && table.childElementCount) table.append(element('div', { className: 'line cut' }, '⋯'));
      isGap = false;
      const inlined = frames.slice(0, -1).map(([of]) => shortName(strings[of])).join(' ← ');
      if (inlined !== before && inlined) table.append(element('div', { className: 'line inlined' }, inlined));
      before = inlined;
      const [, file, line] = frames[0];
      table.append(this.row(counts, {
        self: self[index], total: total[index],
        at: (targets.has(offset) ? '▸' : '') + `+${offset.toString(16)}`,
        text,
        key: file === null ? null : `${strings[file]}:${line}`,
        note: file === null || line === null ? '' : noteOf(strings[file], line, own),
        isHottest: self[index] > 0 && self[index] === most,
      }));
    });
    made.append(table);
    return made;
  }
}

/** A line of the function's own file by its number alone. */
function noteOf(file, line, own) {
  return file === own.file ? `${line}` : `${file.slice(file.lastIndexOf('/') + 1)}:${line}`;
}

/** The lines of a function, and `null` for all code of it whose line is not known: the samples in which one
 *  itself was executing, and those in which it was on the stack, once each. */
function linesOf(counts, own) {
  const { profile } = counts;
  const { places, nodeParent, nodePlace } = profile;
  const lines = new Map();
  const at = ({ file, line }) => {
    const key = `${file}:${line}`;
    if (!lines.has(key)) lines.set(key, { file, line, self: 0, total: 0 });
    return lines.get(key);
  };
  for (let row = 0; row < counts.ofRows.length; row++) {
    const samples = counts.ofRows[row];
    const frame = places[profile.rowPlace[row]].frames[0];
    if (samples && frame.own === own) {
      at(frame).self += samples;
      if (profile.rowPlace[row] !== nodePlace[profile.rowNode[row]]) at(frame).total += samples;
    }
  }
  const has = places.map(place => place.frames.filter(frame => frame.own === own));
  const ofNodes = samplesOfNodes(counts);
  for (let node = 0; node < ofNodes.length; node++) {
    const of = has[nodePlace[node]];
    if (!of.length || ofNodes[node] === 0) continue;
    const seen = new Set();
    for (let up = nodeParent[node]; up >= 0; up = nodeParent[up]) for (const frame of has[nodePlace[up]]) seen.add(`${frame.file}:${frame.line}`);
    for (const frame of of) {
      const key = `${frame.file}:${frame.line}`;
      if (!seen.has(key)) at(frame).total += ofNodes[node];
      seen.add(key);
    }
  }
  return lines;
}

/** For each node of the tree of places the samples of stacks that it is on. */
function samplesOfNodes(counts) {
  if (counts.ofNodes) return counts.ofNodes;
  const { rowNode, nodeParent } = counts.profile;
  const ofNodes = new Float64Array(nodeParent.length);
  for (let row = 0; row < rowNode.length; row++) ofNodes[rowNode[row]] += counts.ofRows[row];
  for (let node = ofNodes.length - 1; node >= 0; node--) if (nodeParent[node] >= 0) ofNodes[nodeParent[node]] += ofNodes[node];
  return (counts.ofNodes = ofNodes);
}

/** The samples of each instruction of a listing: those in which it was to execute next, and those of
 *  stacks that have it anywhere, once each. */
function samplesAt(counts, listing) {
  const { profile } = counts;
  const index = new Map();
  const start = BigInt(`0x${listing.start}`);
  listing.instructions.forEach(([offset, length], at) => {
    for (let byte = 0; byte < length; byte++) index.set(offset + byte, at);
  });
  const most = listing.instructions.length ? BigInt(listing.size) : 0n;
  const placeIndex = profile.places.map(place => {
    if (place.kind !== 'code') return -1;
    const offset = BigInt(`0x${place.at}`) - start;
    return offset < 0n || offset >= most ? -1 : index.get(Number(offset)) ?? -1;
  });
  const self = new Float64Array(listing.instructions.length);
  const total = new Float64Array(listing.instructions.length);
  for (let row = 0; row < counts.ofRows.length; row++) {
    const at = placeIndex[profile.rowPlace[row]];
    if (at < 0) continue;
    self[at] += counts.ofRows[row];
    if (profile.rowPlace[row] !== profile.nodePlace[profile.rowNode[row]]) total[at] += counts.ofRows[row];
  }
  const { nodeParent, nodePlace } = profile;
  const ofNodes = samplesOfNodes(counts);
  for (let node = 0; node < ofNodes.length; node++) {
    const at = placeIndex[nodePlace[node]];
    if (at < 0 || ofNodes[node] === 0) continue;
    let up = nodeParent[node];
    while (up >= 0 && placeIndex[nodePlace[up]] !== at) up = nodeParent[up];
    if (up < 0) total[at] += ofNodes[node];
  }
  return [self, total];
}

/** The lines of a file that the page has, by number. */
function sourceOf(profile, file) {
  const { sources } = profile.code;
  const parts = sources && sources[profile.files[file]];
  if (!parts) return null;
  const lines = new Map();
  for (const [first, texts] of parts) texts.forEach((text, at) => lines.set(first + at, text));
  return lines;
}
