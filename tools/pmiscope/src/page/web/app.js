// The page: what is selected, and the views of it.

const PALETTES = {
  light: {
    text: '#1c2024', quiet: '#5f6670', frameText: '#1c2024', root: '#e3e5e8', same: '#e6e8ea', lane: '#f1f2f4',
    accent: '#2f66d0', match: '#f7c948', matchText: '#1c2024', lost: '#c22f2f', shade: 'rgba(250, 250, 249, 0.72)',
    mark: '#d9dce0', kinds: ['#dde0e4', '#e0a03c', '#4fa39a', '#7f9fd0'],
    lightness: 0.86, chroma: 0.068,
  },
  dark: {
    text: '#e7e9ec', quiet: '#98a0ab', frameText: '#f0f1f3', root: '#343941', same: '#343941', lane: '#1f2329',
    accent: '#79a6ff', match: '#e6b422', matchText: '#16181c', lost: '#ff6b6b', shade: 'rgba(20, 22, 26, 0.72)',
    mark: '#3b414a', kinds: ['#3a4049', '#b8822e', '#3d8a82', '#5d7fb5'],
    lightness: 0.45, chroma: 0.075,
  },
};

const VIEWS = ['flame', 'functions', 'callers', 'code', 'run'];

class App {
  constructor() {
    this.selection = everything();
    this.selected = null;
    this.view = 'flame';
    this.by = '';
    this.isInverted = false;
    this.colour = 'module';
    this.query = '';
    this.dirty = new Set();
    this.byId = id => document.getElementById(id);
    this.flame = new FlameGraph(this.byId('flame'), this, 'Flame graph: arrow keys go from frame to frame, Enter zooms in, Escape out');
    this.flame.onZoom = frame => this.showCrumbs(frame);
    this.callers = new FlameGraph(this.byId('callers'), this, 'Callers of the selected function');
    this.callees = new FlameGraph(this.byId('callees'), this, 'Functions that the selected one calls');
    this.timeline = new Timeline(this.byId('lanes'), this);
    this.codeView = new CodeView(this.byId('code'), this);
    this.listen();
  }

  /** Takes data; what is selected stays, if it is there. */
  load(text) {
    const before = this.model && this.selected !== null ? this.model.functions[this.selected].name : null;
    const { time } = this.selection;
    const window = this.model && time ? time.map(step => this.model.shown.ticksAt(step)) : null;
    this.model = new Model(text);
    const { shown, base } = this.model;
    // A run that goes on has longer steps, and others, each time.
    if (window && shown.time) this.selection.time = windowOf(...window.map(ticks => shown.stepAt(ticks)), shown.steps);
    if (before !== null) this.selected = this.model.byName.get(before) ?? null;
    if (this.selection.time && (!shown.time || this.selection.time[1] > shown.steps)) this.selection.time = null;
    document.title = `${shown.name} – pmiscope`;
    this.byId('title').textContent = base ? `${shown.name}, compared with ${base.name}` : shown.name;
    this.byId('summary').textContent = this.summary();
    this.showWarnings();
    this.makeFilters();
    this.makeTable();
    this.byId('colour').closest('label').hidden = !!base;
    this.showChanges();
    this.showRun();
    this.select_();
  }

  summary() {
    const { run, cores, events } = this.model.shown;
    const used = this.model.shown.rowEvent.length ? [...new Set(this.model.shown.rowEvent)] : [];
    const every = used.map(event => `${grouped(events[event].period)} ${events[event].name}`).join(', ');
    const parts = [`${samplesText(run.samples)}`, `${cores.length} ${cores.length === 1 ? 'core' : 'cores'}`];
    if (every) parts.push(`every ${every}`);
    parts.push(run.title);
    if (run.lost) parts.push(`${grouped(run.lost)} lost`);
    return parts.filter(Boolean).join(' · ');
  }

  /** What the colours of two profiles mean. */
  showChanges() {
    const box = this.byId('changes');
    box.hidden = !this.model.base;
    const swatch = difference => {
      const made = element('span', { className: 'swatch' });
      made.style.background = this.colours().changed(difference, Math.abs(difference));
      return made;
    };
    box.replaceChildren('Share of samples', swatch(0.05), 'grew', swatch(-0.05), 'shrank');
  }

  showWarnings() {
    const box = this.byId('warnings');
    const all = this.model.profiles.flatMap(profile => profile.run.warnings);
    box.hidden = all.length === 0;
    box.replaceChildren(...all.map(text => element('p', {}, text)));
  }

  // --- What is selected ---------------------------------------------------------

  makeFilters() {
    const { shown } = this.model;
    const choice = (name, key, values) => {
      if (values.length < 2) { this.selection[key] = null; return null; }
      const select = element('select', {
        'aria-label': name,
        onchange: event => this.choose(key, event.target.value === '' ? null : values[event.target.value].value),
      }, element('option', { value: '' }, `All ${name}s`), ...values.map((it, at) => element('option', { value: at }, it.text)));
      const at = values.findIndex(it => it.value === this.selection[key]);
      select.value = at < 0 ? '' : at;
      if (at < 0) this.selection[key] = null;
      return select;
    };
    const events = [...new Set(shown.rowEvent)].map(event => shown.events[event].name);
    const tasks = [...new Set(shown.tasks.map(task => task.name))].sort();
    this.coreSelect = choice('core', 'core', shown.cores.map((core, at) => ({ value: at, text: `core ${core}` })));
    this.byId('filters').replaceChildren(...[
      choice('event', 'event', events.map(name => ({ value: name, text: name }))),
      this.coreSelect,
      choice('task', 'task', tasks.map(name => ({ value: name, text: name }))),
    ].filter(Boolean));
    this.makeLegend();
  }

  /** The kinds that there are: each can be left out. */
  makeLegend() {
    const { shown } = this.model;
    const seen = new Set(shown.rowKind);
    const buttons = [KERNEL, USER, INTERRUPT, IDLE].filter(kind => seen.has(kind)).map(kind => {
      const isOn = !this.selection.kinds || this.selection.kinds.includes(kind);
      const swatch = element('span', { className: 'swatch' });
      swatch.style.background = this.colours().kinds[kind];
      return element('button', {
        className: 'kind', 'aria-pressed': String(isOn), title: `Leave ${KINDS[kind].name} out, or take it in`,
        onclick: () => this.toggleKind(kind),
      }, swatch, KINDS[kind].name);
    });
    if (shown.rowFlags.some(flags => flags & FLAG_INTERRUPTS_OFF)) buttons.push(element('button', {
      className: 'kind only', 'aria-pressed': String(this.selection.isOff !== null), title: 'Only code that ran with interrupts off',
      onclick: () => { this.choose('isOff', this.selection.isOff === null ? true : null); this.makeLegend(); },
    }, 'only interrupts off'));
    const function_ = this.selected === null ? null : element('span', { className: 'kind of-function' },
      element('span', { className: 'swatch accent' }), shortName(this.model.functions[this.selected].name));
    this.byId('legend').replaceChildren(...buttons, ...(function_ ? [function_] : []));
  }

  toggleKind(kind) {
    const all = [IDLE, INTERRUPT, USER, KERNEL];
    const now = this.selection.kinds || all;
    const next = now.includes(kind) ? now.filter(it => it !== kind) : [...now, kind];
    this.choose('kinds', next.length === all.length ? null : next);
    this.makeLegend();
  }

  choose(key, value) {
    this.selection[key] = value;
    this.select_();
  }

  selectTime(window) {
    this.selection.time = window;
    if (this.isWaiting) return;
    // Counts once a frame, however fast the pointer moves.
    this.isWaiting = true;
    requestAnimationFrame(() => { this.isWaiting = false; this.select_(); });
  }

  selectCore(core) {
    if (this.coreSelect) this.coreSelect.value = core === null ? '' : core;
    this.choose('core', core);
  }

  resetSelection() {
    this.selection = everything();
    this.makeFilters();
    this.select_();
  }

  /** Counts what is selected, and shows it. */
  select_() {
    const { shown, base } = this.model;
    this.counts = new Counts(this.model, shown, this.selection);
    this.baseCounts = base ? new Counts(this.model, base, this.selection, false) : null;
    this.all = this.counts.all;
    this.baseAll = this.baseCounts ? this.baseCounts.all : 0;
    this.showTimeline();
    const isAll = Object.values(this.selection).every(it => it === null);
    this.byId('reset').hidden = isAll;
    this.byId('selected').textContent = isAll ? '' : `${grouped(this.all)} of ${samplesText(shown.run.samples)}${this.windowText()}`;
    this.showAll();
    this.remember();
  }

  windowText() {
    const { time } = this.selection, { shown } = this.model;
    if (!time || !shown.time) return '';
    const { clock, step } = shown.time;
    const [from, to] = time.map(it => timeText(shown.ticksAt(it), clock, step));
    return `, ${from} – ${to}`;
  }

  showTimeline() {
    const { shown } = this.model;
    let inFunction = null;
    if (this.selected !== null) {
      const isIt = new Uint8Array(this.model.functions.length);
      isIt[this.selected] = 1;
      const has = callsBelow(this.model, isIt);
      inFunction = new Uint8Array(shown.rowNode.length);
      for (let row = 0; row < inFunction.length; row++)
        inFunction[row] = has[shown.rowCall[row]] || shown.rowOwn[row] === this.selected ? 1 : 0;
    }
    this.timeline.show(shown, this.selection, inFunction);
  }

  // --- The views ----------------------------------------------------------------

  showAll() {
    this.dirty = new Set(VIEWS);
    this.showView();
    this.showDetails();
  }

  showView() {
    for (const view of VIEWS) {
      const isIt = view === this.view;
      this.byId(`view-${view}`).hidden = !isIt;
      this.byId(`tab-${view}`).setAttribute('aria-selected', String(isIt));
      this.byId(`tab-${view}`).tabIndex = isIt ? 0 : -1;
    }
    if (!this.dirty.delete(this.view)) return;
    ({
      flame: () => this.showFlame(),
      functions: () => this.table.show(this.functionRows()),
      callers: () => this.showCallers(),
      code: () => this.codeView.show(this.counts, this.selected),
      run: () => {},
    })[this.view]();
    this.showFound();
  }

  go(view) {
    this.view = view;
    this.showView();
    this.remember();
  }

  treeOf(counts, baseCounts, label) {
    if (!this.isInverted) return FrameTree.downwards(counts, baseCounts, rootCalls(this.model), label);
    const calls = Array.from(counts.ownOfCalls.keys());
    return FrameTree.upwards(counts, baseCounts, counts.ownOfCalls, baseCounts && baseCounts.ownOfCalls, calls, label);
  }

  showFlame() {
    this.byId('inverted').checked = this.isInverted;
    this.byId('by').value = this.by;
    this.byId('colour').value = this.colour;
    const label = this.isInverted ? 'all, by what was executing' : 'all';
    let tree;
    if (this.by === '') tree = this.treeOf(this.counts, this.baseCounts, label);
    else {
      const trees = this.groups().map(({ name, selection }) => {
        const counts = new Counts(this.model, this.model.shown, selection);
        const base = this.model.base ? new Counts(this.model, this.model.base, selection, false) : null;
        return this.treeOf(counts, base, name);
      });
      if (this.by === 'task') trees.sort((a, b) => b.root.samples - a.root.samples);
      tree = new Forest(trees.filter(tree => tree.root.samples > 0), label);
    }
    this.flame.show(tree);
  }

  groups() {
    const { shown } = this.model;
    const { selection } = this;
    if (this.by === 'core') {
      const cores = shown.cores.map((core, at) => ({ name: `core ${core}`, selection: { ...selection, core: at } }));
      return cores.filter(it => selection.core === null || selection.core === it.selection.core);
    }
    const names = [...new Set(shown.tasks.map(task => task.name))];
    const tasks = names.map(name => ({ name, selection: { ...selection, task: name } }));
    return tasks.filter(it => selection.task === null || selection.task === it.name);
  }

  showCrumbs(frame) {
    const crumbs = [];
    for (let at = frame; at; at = at.parent) crumbs.unshift(at);
    const few = crumbs.length > 5 ? [crumbs[0], null, ...crumbs.slice(-3)] : crumbs;
    this.byId('crumbs').replaceChildren(...few.flatMap((it, at) => {
      const made = it === null ? element('span', { className: 'quiet' }, '…')
        : element('button', { onclick: () => this.flame.zoom(it) }, shortName(this.flame.nameOf(it)));
      return at ? [element('span', { className: 'quiet', 'aria-hidden': 'true' }, '›'), made] : [made];
    }));
  }

  functionRows() {
    const { self, total } = this.counts;
    const rows = [];
    const isIn = this.query ? this.matches() : null;
    for (let own = 0; own < self.length; own++) {
      const base = this.baseCounts ? this.baseCounts.total[own] : 0;
      const it = this.model.functions[own];
      if ((total[own] === 0 && base === 0) || it.isMark) continue;
      const row = { own, name: it.name, self: self[own], total: total[own], it };
      if (this.baseCounts) {
        row.selfChange = change(row.self, this.all, this.baseCounts.self[own], this.baseAll);
        row.totalChange = change(row.total, this.all, this.baseCounts.total[own], this.baseAll);
      }
      rows.push(row);
    }
    if (this.baseCounts) for (const key of ['selfChange', 'totalChange']) judge(rows.map(row => row[key]));
    return isIn ? rows.filter(row => isIn[row.own]) : rows;
  }

  makeTable() {
    if (this.table && this.hasBase === !!this.model.base) return;
    this.hasBase = !!this.model.base;
    this.byId('functions').replaceChildren();
    const changes = (key, name) => ({
      key, name, isNumber: true, isFirst: key === 'selfChange', className: 'change', title: 'Points of a percent, since the base; pale within chance',
      value: row => Math.abs(row[key].difference), fill: (cell, row) => fillChange(cell, row[key]),
    });
    const columns = [
      { key: 'self', name: 'Self', isNumber: true, isFirst: !this.hasBase, className: 'shares', title: 'Samples in which the function itself was executing',
        value: row => row.self, fill: (cell, row) => { fillShare(cell, row.self, this.all); cell.title = samplesText(row.self); } },
      ...(this.hasBase ? [changes('selfChange', 'Change')] : []),
      { key: 'total', name: 'Total', isNumber: true, className: 'shares', title: 'Samples in which the function was on the stack',
        value: row => row.total, fill: (cell, row) => { fillShare(cell, row.total, this.all); cell.title = samplesText(row.total); } },
      ...(this.hasBase ? [changes('totalChange', 'Change')] : []),
      { key: 'name', name: 'Function', className: 'name', value: row => row.name,
        fill: (cell, row) => { cell.append(...nameParts(row.it)); cell.title = row.name; } },
      { key: 'file', name: 'Declared in', className: 'file', value: row => row.it.file || '',
        fill: (cell, row) => { cell.append(element('bdi', {}, placeText(row.it.file, row.it.line))); cell.title = placeText(row.it.file, row.it.line); } },
    ];
    this.table = new Table(this.byId('functions'), columns, {
      isSelected: row => row.own === this.selected,
      choose: row => this.select(row.own),
      open: row => this.open(row.own),
    });
  }

  showCallers() {
    const own = this.selected;
    const hint = this.byId('callers-of');
    if (own === null) {
      hint.textContent = 'Select a function in another view.';
      for (const graph of [this.callers, this.callees]) graph.show(FrameTree.downwards(this.counts, this.baseCounts, [], ''));
      return;
    }
    const { name } = this.model.functions[own];
    hint.replaceChildren(element('strong', {}, name), ` ${samplesText(this.counts.total[own])}, ${percent(this.counts.total[own], this.all)}`);
    const calls = outermostCalls(this.model, own);
    const { ofCalls } = this.counts;
    const up = FrameTree.upwards(this.counts, this.baseCounts, ofCalls, this.baseCounts && this.baseCounts.ofCalls, calls, name);
    // The root's only frame is the function itself.
    const [itself] = up.of(up.root);
    const down = FrameTree.downwards(this.counts, this.baseCounts, calls, name);
    if (itself) { itself.parent = null; up.root = itself; }
    const [inner] = down.of(down.root);
    if (inner) { inner.parent = null; down.root = inner; }
    this.callers.show(up);
    this.callees.show(down);
  }

  showRun() {
    const made = this.model.profiles.map(({ name, run }) => element('article', {},
      element('h2', {}, name),
      element('dl', {}, ...run.facts.flatMap(([what, text]) => [element('dt', {}, what), element('dd', {}, text)])),
      element('details', {}, element('summary', {}, 'The report'), element('pre', {}, run.report))));
    this.byId('run').replaceChildren(...made);
  }

  // --- A function ---------------------------------------------------------------

  select(own) {
    if (this.selected === own) return;
    this.selected = own;
    this.dirty.add('callers').add('code');
    if (this.view === 'functions') this.table.refresh();
    this.showTimeline();
    this.makeLegend();
    this.showDetails();
    if (this.view !== 'flame') this.showView();
    this.remember();
  }

  open(own) {
    this.select(own);
    this.go('code');
  }

  showDetails() {
    const box = this.byId('details');
    const own = this.selected;
    if (own === null) return box.replaceChildren(...this.hottest());
    const { counts, baseCounts, model } = this;
    const it = model.functions[own];
    const share = (name, of) => {
      const bar = element('span', { className: 'share' });
      bar.style.width = `${this.all ? 100 * counts[of][own] / this.all : 0}%`;
      const made = element('div', { className: 'fact' }, element('span', { className: 'quiet' }, name), bar,
        element('span', { className: 'number' }, percent(counts[of][own], this.all)),
        element('span', { className: 'number quiet' }, grouped(counts[of][own])));
      if (baseCounts) {
        const cell = element('span', { className: 'number' });
        fillChange(cell, change(counts[of][own], this.all, baseCounts[of][own], this.baseAll));
        made.append(cell);
      }
      return made;
    };
    const [callers, callees] = this.neighbours(own);
    box.replaceChildren(
      element('button', { className: 'close', title: 'Close', 'aria-label': 'Close', onclick: () => this.unselect() }, '×'),
      element('h2', {}, ...breakable(it.name)),
      element('p', { className: 'quiet place' }, placeText(it.file, it.line), it.isInlined ? ' · inlined wherever it was seen' : ''),
      share('self', 'self'), share('total', 'total'),
      element('div', { className: 'actions' },
        element('button', { onclick: () => this.go('callers') }, 'Callers'),
        element('button', { onclick: () => this.go('code') }, 'Code'),
        element('button', { onclick: () => this.search(`^${it.name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`) }, 'Find')),
      ...this.neighbourList('Called by', callers, counts.total[own]),
      ...this.neighbourList('Calls', callees, counts.total[own]));
  }

  /** The functions with most samples of their own. */
  hottest() {
    if (this.baseCounts) return this.changed();
    const { self } = this.counts;
    const functions = Array.from(self.keys()).filter(own => self[own] > 0 && !this.model.functions[own].isMark);
    functions.sort((a, b) => self[b] - self[a]);
    return this.neighbourList('Most samples of their own', functions.map(own => [own, self[own]]), this.all, 12);
  }

  /** The functions whose own share has changed most, by more than chance. */
  changed() {
    const rows = this.functionRows().filter(row => row.selfChange.isSignificant);
    rows.sort((a, b) => b.selfChange.difference - a.selfChange.difference);
    const list = (title, some) => (some.length ? [element('h3', {}, title), element('ul', {}, ...some.map(row => {
      const change = element('span', { className: 'number' });
      fillChange(change, row.selfChange);
      return element('li', {}, change, element('button', { title: row.name, onclick: () => this.select(row.own) }, shortName(row.name)));
    }))] : []);
    const grew = rows.filter(row => row.selfChange.difference > 0).slice(0, 10);
    const shrank = rows.filter(row => row.selfChange.difference < 0).reverse().slice(0, 10);
    return [...list('Own share grew, in points', grew), ...list('Own share shrank', shrank)];
  }

  /** What a function is called by and what it calls, in the samples that it has in all. */
  neighbours(own) {
    const { model, counts } = this;
    const callers = new Map(), callees = new Map();
    const add = (to, key, samples) => to.set(key, (to.get(key) || 0) + samples);
    const { first, calls } = callsOfParents(model);
    for (const call of outermostCalls(model, own)) {
      const samples = counts.ofCalls[call];
      if (samples === 0) continue;
      const parent = model.callParent[call];
      add(callers, parent < 0 ? -1 : model.callFunction[parent], samples);
      for (let at = first[call]; at < first[call + 1]; at++)
        if (counts.ofCalls[calls[at]]) add(callees, model.callFunction[calls[at]], counts.ofCalls[calls[at]]);
    }
    const sorted = of => [...of].sort((a, b) => b[1] - a[1]);
    return [sorted(callers), sorted(callees)];
  }

  neighbourList(title, all, whole, most = 8) {
    if (!all.length) return [];
    const rows = all.slice(0, most).map(([own, samples]) => {
      const share = element('span', { className: 'number' }, percent(samples, whole));
      if (own < 0) return element('li', {}, share, element('span', { className: 'quiet' }, 'nothing: it is outermost'));
      const name = this.model.functions[own].name;
      return element('li', {}, share, element('button', { title: name, onclick: () => this.select(own) }, shortName(name)));
    });
    const more = all.length > most ? [element('li', { className: 'quiet' }, `and ${grouped(all.length - most)} more`)] : [];
    return [element('h3', {}, title), element('ul', {}, ...rows, ...more)];
  }

  unselect() {
    this.selected = null;
    this.dirty.add('callers').add('code');
    this.showTimeline();
    this.makeLegend();
    this.showDetails();
    if (this.view === 'functions') this.table.refresh();
    this.showView();
    this.flame.draw();
    this.remember();
  }

  // --- Search -------------------------------------------------------------------

  search(text) {
    this.query = text;
    this.byId('search').value = text;
    this.dirty.add('functions');
    this.showView();
    this.showFound();
    this.remember();
  }

  matches() {
    const expression = matcher(this.query);
    if (!expression) return null;
    return Uint8Array.from(this.model.functions, it => (expression.test(it.name) ? 1 : 0));
  }

  showFound() {
    const matches = this.matches();
    for (const graph of [this.flame, this.callers, this.callees]) {
      graph.matches = matches;
      graph.draw();
    }
    const samples = matches ? this.counts.ofStacksWith(matches) : 0;
    this.byId('found').textContent = matches ? percent(samples, this.all) : '';
    this.byId('found').title = matches ? `${samplesText(samples)} of stacks on which such a function is` : '';
  }

  // --- Colours ------------------------------------------------------------------

  get isDark() {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  }

  colours() {
    const name = this.isDark ? 'dark' : 'light';
    const palette = PALETTES[name];
    if (!palette.fadedKinds) {
      palette.fadedKinds = palette.kinds.map(() => palette.mark);
      palette.changed = (difference, before) => {
        // Twice as much, or half, is as strong as it gets; so is a change by five points.
        const relative = Math.abs(difference) / Math.max(before, 0.002);
        const strength = Math.min(1, Math.max(relative, Math.abs(difference) / 0.05));
        const chroma = 0.03 + 0.13 * strength;
        const lightness = palette.lightness - (name === 'light' ? 0.14 * strength : -0.05 * strength);
        return `oklch(${lightness} ${chroma} ${difference > 0 ? 27 : 255})`;
      };
      palette.modules = new Map();
    }
    return palette;
  }

  colourOf(frame, colours) {
    const it = this.model.functions[frame.own];
    if (this.colour === 'kind') return colours.kinds[this.kindOf(frame)];
    if (it.isMark) return colours.mark;
    if (it.hue === undefined) {
      const hash = hashOf(moduleOf(it));
      it.hue = hash % 360;
      it.tone = ((hash >>> 10) % 5 - 2) * 0.012;
    }
    const key = it.hue * 8 + it.tone * 1000;
    let colour = colours.modules.get(key);
    if (!colour) colours.modules.set(key, (colour = `oklch(${colours.lightness + it.tone} ${colours.chroma} ${it.hue})`));
    return colour;
  }

  /** What most samples of a frame's first call were doing. */
  kindOf(frame) {
    if (!this.counts.kindOfCalls) {
      const { shown } = this.model;
      const size = this.model.callParent.length;
      const sums = KINDS.map(() => new Float64Array(size));
      for (let row = 0; row < shown.rowNode.length; row++) sums[shown.rowKind[row]][shown.rowCall[row]] += this.counts.ofRows[row];
      for (const of of sums) for (let call = size - 1; call >= 0; call--) if (this.model.callParent[call] >= 0) of[this.model.callParent[call]] += of[call];
      this.counts.kindOfCalls = sums;
    }
    const calls = frame.tree.isUpwards ? frame.cursors : frame.calls;
    const of = this.counts.kindOfCalls.map(sums => calls.reduce((all, call) => all + sums[call], 0));
    return of.indexOf(Math.max(...of));
  }

  toggleTheme() {
    document.documentElement.dataset.theme = this.isDark ? 'light' : 'dark';
    this.recolour();
  }

  recolour() {
    this.makeLegend();
    this.showChanges();
    this.timeline.draw();
    for (const graph of [this.flame, this.callers, this.callees]) graph.draw();
  }

  // --- Around it ----------------------------------------------------------------

  tip(x, y, lines) {
    const tip = this.byId('tip');
    tip.hidden = !lines;
    if (!lines) return;
    tip.replaceChildren(...lines.map((line, at) => element('div', { className: at ? '' : 'first' }, line)));
    const { offsetWidth: width, offsetHeight: height } = tip;
    tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - width - 8))}px`;
    tip.style.top = `${y + 18 + height > innerHeight ? Math.max(4, y - height - 10) : y + 18}px`;
  }

  listen() {
    this.byId('tabs').addEventListener('click', event => {
      const { view } = event.target.dataset;
      if (view) this.go(view);
    });
    this.byId('tabs').addEventListener('keydown', event => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!by) return;
      this.go(VIEWS[(VIEWS.indexOf(this.view) + by + VIEWS.length) % VIEWS.length]);
      this.byId(`tab-${this.view}`).focus();
    });
    this.byId('search').addEventListener('input', event => this.search(event.target.value));
    this.byId('reset').addEventListener('click', () => this.resetSelection());
    this.byId('theme').addEventListener('click', () => this.toggleTheme());
    this.byId('help').addEventListener('click', () => this.showKeys());
    this.byId('inverted').addEventListener('change', event => this.flameBy('isInverted', event.target.checked));
    this.byId('by').addEventListener('change', event => this.flameBy('by', event.target.value));
    this.byId('colour').addEventListener('change', event => this.flameBy('colour', event.target.value));
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.recolour());
    document.addEventListener('keydown', event => this.onKey(event));
    addEventListener('hashchange', () => this.recall());
  }

  flameBy(key, value) {
    this[key] = value;
    this.flame.zoomed = this.flame.focused = null;
    this.dirty.add('flame');
    this.showView();
    this.remember();
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const isTyping = event.target.matches('input[type=search], select');
    if (event.key === 'Escape') {
      if (isTyping) { this.search(''); event.target.blur(); } else if (!this.byId('keys').open) this.resetSelection();
      return;
    }
    if (isTyping) return;
    const action = {
      '/': () => this.byId('search').focus(),
      '1': () => this.go('flame'), '2': () => this.go('functions'), '3': () => this.go('callers'),
      '4': () => this.go('code'), '5': () => this.go('run'),
      i: () => this.flameBy('isInverted', !this.isInverted),
      t: () => this.toggleTheme(),
      '?': () => this.showKeys(),
    }[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  showKeys() {
    const keys = [
      ['/', 'search'], ['1 to 5', 'the views'], ['i', 'turn the flame graph round'], ['t', 'light or dark'],
      ['arrow keys', 'from frame to frame, from row to row; on the cores, move the window of time'],
      ['Enter', 'zoom in on a frame; the code of a row'], ['double click', 'the code of a function'],
      ['+ and −', 'on the cores: a shorter or longer window'], ['Esc', 'zoom out; show all again'],
    ];
    const dialog = this.byId('keys');
    dialog.replaceChildren(element('h2', {}, 'Keys'),
      element('dl', {}, ...keys.flatMap(([key, what]) => [element('dt', {}, element('kbd', {}, key)), element('dd', {}, what)])),
      element('button', { onclick: () => dialog.close() }, 'Close'));
    dialog.showModal();
  }

  // --- The address --------------------------------------------------------------

  /** Keeps what is shown in the address, so that it can be sent and come back to. */
  remember() {
    const { time, core, task, event, kinds, isOff } = this.selection;
    const words = new URLSearchParams();
    if (this.view !== 'flame') words.set('view', this.view);
    if (this.query) words.set('search', this.query);
    if (this.selected !== null) words.set('function', this.model.functions[this.selected].name);
    if (time) words.set('time', time.join('-'));
    if (core !== null) words.set('core', core);
    if (task !== null) words.set('task', task);
    if (event !== null) words.set('event', event);
    if (isOff) words.set('off', '1');
    if (kinds) words.set('kinds', kinds.map(kind => KINDS[kind].key).join(','));
    if (this.isInverted) words.set('inverted', '1');
    if (this.by) words.set('by', this.by);
    const text = words.toString();
    if (text === this.remembered) return;
    this.remembered = text;
    history.replaceState(null, '', `#${text}`);
  }

  /** Takes from the address what is there and can be. */
  recall() {
    const text = location.hash.slice(1);
    if (text === this.remembered) return;
    this.remembered = text;
    const words = new URLSearchParams(text);
    const { shown } = this.model;
    this.view = VIEWS.includes(words.get('view')) ? words.get('view') : 'flame';
    this.query = words.get('search') || '';
    this.byId('search').value = this.query;
    this.selected = this.model.byName.get(words.get('function')) ?? null;
    this.isInverted = words.get('inverted') === '1';
    this.by = ['core', 'task'].includes(words.get('by')) ? words.get('by') : '';
    const time = (words.get('time') || '').split('-').map(Number);
    const kinds = (words.get('kinds') || '').split(',').map(key => KINDS.findIndex(kind => kind.key === key)).filter(kind => kind >= 0);
    this.selection = {
      time: time.length === 2 && shown.time && time[0] >= 0 && time[0] < time[1] && time[1] <= shown.steps ? time : null,
      core: words.has('core') && shown.cores[words.get('core')] !== undefined ? Number(words.get('core')) : null,
      task: words.get('task'), event: words.get('event'),
      kinds: kinds.length ? kinds : null,
      isOff: words.get('off') === '1' ? true : null,
    };
    this.makeFilters();
    this.select_();
  }
}

/** A function's name, its last part strong. */
function nameParts({ name, isInlined }) {
  const short = shortName(name);
  return [
    isInlined ? element('span', { className: 'inlined-mark', title: 'inlined wherever it was seen' }, 'i') : null,
    element('span', { className: 'quiet' }, name.slice(0, name.length - short.length)),
    element('span', {}, short),
  ].filter(Boolean);
}

/** A change in points, red where it is more and blue where it is less. */
function fillChange(cell, { difference, isSignificant }) {
  const kind = !isSignificant || points(difference) === '0.00' ? 'same' : difference > 0 ? 'more' : 'less';
  cell.append(element('span', { className: `points ${kind}` }, points(difference)));
}

/** The data of a page that has them in itself. */
async function show(app) {
  app.load(await unpack(bytesOf(document.getElementById('data').textContent)));
  app.recall();
  document.body.dataset.ready = 'true';
}

/** Asks for data once a second: a run that goes on has more each time. */
async function follow(app) {
  const summary = document.getElementById('summary');
  let mark = null;
  for (;;) {
    try {
      const answer = await fetch('data', { cache: 'no-store', headers: mark ? { 'If-None-Match': mark } : {} });
      if (answer.status === 200) {
        mark = answer.headers.get('ETag');
        const isFirst = !app.model;
        app.load(await unpack(new Uint8Array(await answer.arrayBuffer())));
        if (isFirst) app.recall();
        document.body.dataset.ready = 'true';
      } else if (answer.status === 202) summary.textContent = await answer.text();
    } catch {
      if (app.model) summary.textContent = `${app.summary()} · the server has ended`;
    }
    await new Promise(done => setTimeout(done, 1000));
  }
}

async function main() {
  const app = new App();
  window.pmiscope = app;
  try {
    await (document.getElementById('data').textContent ? show(app) : follow(app));
  } catch (error) {
    document.getElementById('summary').textContent = `The profile cannot be shown: ${error.message}`;
    console.error(error);
  }
}

main();
