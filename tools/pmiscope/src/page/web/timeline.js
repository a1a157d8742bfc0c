// The cores over time: what each did, where a function ran, and a window of time to select.

const LANE = { usual: 34, least: 16, gap: 6, label: 64, axis: 22 };

class Timeline {
  /** `host` has `selectTime(window)`, `selectCore(core)`, `tip(...)`, `colours()`. */
  constructor(canvas, host) {
    this.canvas = canvas;
    this.host = host;
    this.selection = null;
    this.function = null;
    this.dragged = null;
    canvas.addEventListener('pointerdown', event => this.onDown(event));
    canvas.addEventListener('pointermove', event => this.onMove(event));
    canvas.addEventListener('pointerup', event => this.onUp(event));
    canvas.addEventListener('pointercancel', () => { this.dragged = null; });
    canvas.addEventListener('pointerleave', () => this.host.tip());
    canvas.addEventListener('dblclick', () => this.host.selectTime(null));
    canvas.addEventListener('keydown', event => this.onKey(event));
    new ResizeObserver(() => this.draw()).observe(canvas.parentElement);
  }

  /** Counts the samples of each core and step by kind. */
  show(profile, selection, inFunction) {
    this.profile = profile;
    this.selection = selection.time;
    this.core = selection.core;
    const isPlain = selection.task === null && selection.event === null && selection.isOff === null;
    // What is there in shorter steps is by kind alone.
    this.shorter = isPlain && profile.laneSamples ? profile.shorter : 1;
    this.steps = profile.steps * this.shorter;
    this.byKind = KINDS.map(() => new Float64Array(profile.cores.length * this.steps));
    if (this.shorter > 1) this.countLanes(selection);
    this.countSteps(selectedRows(profile, selection), inFunction);
    this.most = 1;
    for (let at = 0; at < this.byKind[0].length; at++)
      this.most = Math.max(this.most, this.byKind[0][at] + this.byKind[1][at] + this.byKind[2][at] + this.byKind[3][at]);
    this.draw();
  }

  countLanes({ kinds }) {
    const { laneSamples } = this.profile;
    for (const kind of [IDLE, INTERRUPT, USER, KERNEL]) {
      if (kinds && !kinds.includes(kind)) continue;
      for (let at = 0; at < this.byKind[kind].length; at++) this.byKind[kind][at] = laneSamples[at * 4 + kind];
    }
  }

  countSteps(isSelected, inFunction) {
    const { steps, cores, stepStart, countRow, countSamples, rowKind } = this.profile;
    const size = cores.length * steps;
    this.ofFunction = inFunction ? new Float64Array(size) : null;
    if (this.shorter > 1 && !inFunction) return;
    for (let step = 0; step < size; step++) {
      for (let at = stepStart[step]; at < stepStart[step + 1]; at++) {
        const row = countRow[at];
        if (!isSelected[row]) continue;
        if (this.shorter === 1) this.byKind[rowKind[row]][step] += countSamples[at];
        // A step's mean is of as many as its shorter steps.
        if (inFunction && inFunction[row]) this.ofFunction[step] += countSamples[at] / this.shorter;
      }
    }
  }

  get lane() {
    const count = this.profile.cores.length;
    return count <= 8 ? LANE.usual : Math.max(LANE.least, Math.floor(280 / count));
  }

  draw() {
    if (!this.profile) return;
    const { canvas, profile } = this;
    const width = canvas.parentElement.clientWidth;
    if (!width) return;
    const height = profile.cores.length * (this.lane + LANE.gap) + LANE.axis;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const context = canvas.getContext('2d');
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    this.width = width;
    const colours = this.host.colours();
    for (let core = 0; core < profile.cores.length; core++) this.drawLane(context, core, colours);
    this.drawAxis(context, height, colours);
    this.drawSelection(context, height, colours);
  }

  drawLane(context, core, colours) {
    const { profile, lane } = this;
    const top = core * (lane + LANE.gap) + 3;
    const plot = this.width - LANE.label;
    const isOff = this.core !== null && this.core !== core;
    context.globalAlpha = isOff ? 0.3 : 1;
    context.fillStyle = this.core === core ? colours.accent : colours.quiet;
    context.font = FONT;
    context.textBaseline = 'middle';
    context.fillText(`core ${profile.cores[core]}`, 2, top + lane / 2);
    context.fillStyle = colours.lane;
    context.fillRect(LANE.label, top, plot, lane);
    const columns = Math.min(plot, this.steps);
    for (let column = 0; column < columns; column++) {
      const from = Math.floor(column * this.steps / columns);
      const to = Math.max(from + 1, Math.floor((column + 1) * this.steps / columns));
      const x = LANE.label + plot * column / columns;
      const right = LANE.label + plot * (column + 1) / columns;
      this.drawColumn(context, { core, from, to, x, width: right - x + 0.3, top }, colours);
    }
    context.globalAlpha = 1;
  }

  /** The mean of some steps, kernel at the bottom. */
  drawColumn(context, { core, from, to, x, width, top }, colours) {
    const { lane, shorter } = this;
    const { steps, stepLost } = this.profile;
    const mean = numbers => {
      let all = 0;
      for (let step = from; step < to; step++) all += numbers[core * this.steps + step];
      return all / (to - from);
    };
    let bottom = top + lane;
    for (const kind of [KERNEL, USER, INTERRUPT, IDLE]) {
      const height = lane * mean(this.byKind[kind]) / this.most;
      context.fillStyle = this.ofFunction ? colours.fadedKinds[kind] : colours.kinds[kind];
      context.fillRect(x, bottom - height, width, height);
      bottom -= height;
    }
    const step = core * steps + Math.floor(from / shorter);
    if (this.ofFunction) {
      const height = lane * this.meanOfFunction(core, from, to) / this.most;
      context.fillStyle = colours.accent;
      context.fillRect(x, top + lane - height, width, height);
    }
    if (stepLost[step] > 0) {
      context.fillStyle = colours.lost;
      context.fillRect(x, top, Math.max(width, 2), 3);
    }
  }

  meanOfFunction(core, from, to) {
    let all = 0;
    for (let step = from; step < to; step++) all += this.ofFunction[core * this.profile.steps + Math.floor(step / this.shorter)];
    return all / (to - from);
  }

  drawAxis(context, height, colours) {
    const { time, steps } = this.profile;
    context.font = '11px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';
    context.fillStyle = colours.quiet;
    context.textBaseline = 'middle';
    const y = height - LANE.axis / 2;
    if (!time) {
      context.fillText('The run has kept how often there was each chain, and not when.', LANE.label, y);
      return;
    }
    const [start, length] = [time.start, steps * time.step];
    const plot = this.width - LANE.label;
    const distance = niceStep(length / Math.max(2, Math.floor(plot / 110)));
    for (let tick = Math.ceil(start / distance) * distance; tick <= start + length; tick += distance) {
      const x = LANE.label + plot * (tick - start) / length;
      context.fillRect(x, height - LANE.axis - 2, 1, 5);
      const text = tick === 0 ? '0' : timeText(tick, time.clock, distance);
      const room = context.measureText(text).width;
      context.fillText(text, Math.min(x + 3, this.width - room), y + 1);
    }
  }

  drawSelection(context, height, colours) {
    if (!this.selection) return;
    const [from, to] = this.selection.map(step => this.xOf(step));
    const bottom = height - LANE.axis;
    context.fillStyle = colours.shade;
    context.fillRect(LANE.label, 0, from - LANE.label, bottom);
    context.fillRect(to, 0, this.width - to, bottom);
    context.fillStyle = colours.accent;
    context.fillRect(from - 1, 0, 2, bottom);
    context.fillRect(to - 1, 0, 2, bottom);
  }

  xOf(step) {
    return LANE.label + (this.width - LANE.label) * step / this.profile.steps;
  }

  stepAt(x) {
    const share = (x - LANE.label) / (this.width - LANE.label);
    return Math.min(this.profile.steps, Math.max(0, share * this.profile.steps));
  }

  coreAt(y) {
    const core = Math.floor(y / (this.lane + LANE.gap));
    return core < this.profile.cores.length ? core : null;
  }

  onDown(event) {
    if (event.button !== 0 || !this.profile) return;
    if (event.offsetX < LANE.label) {
      const core = this.coreAt(event.offsetY);
      if (core !== null) this.host.selectCore(core === this.core ? null : core);
      return;
    }
    if (!this.profile.time) return;
    this.canvas.setPointerCapture(event.pointerId);
    const near = this.selection && this.selection.findIndex(step => Math.abs(this.xOf(step) - event.offsetX) < 6);
    const isEdge = this.selection && near >= 0;
    this.dragged = {
      // The other end stays where it is.
      from: isEdge ? this.selection[1 - near] : this.stepAt(event.offsetX),
      isMoved: isEdge,
      x: event.offsetX,
    };
  }

  onMove(event) {
    if (!this.profile) return;
    if (this.dragged) {
      this.dragged.isMoved ||= Math.abs(event.offsetX - this.dragged.x) > 3;
      if (this.dragged.isMoved) this.host.selectTime(windowOf(this.dragged.from, this.stepAt(event.offsetX), this.profile.steps));
      return;
    }
    const core = this.coreAt(event.offsetY);
    if (core === null || event.offsetX < LANE.label) return this.host.tip();
    this.host.tip(event.clientX, event.clientY, this.linesAt(core, event.offsetX));
  }

  onUp(event) {
    if (this.dragged && !this.dragged.isMoved && this.selection) this.host.selectTime(null);
    this.dragged = null;
    if (event.pointerId !== undefined && this.canvas.hasPointerCapture(event.pointerId)) this.canvas.releasePointerCapture(event.pointerId);
  }

  /** What is said of a step: the shortest that there is. */
  linesAt(core, x) {
    const { profile, shorter } = this;
    const step = Math.min(this.steps - 1, Math.floor(this.stepAt(x) * shorter));
    const at = core * this.steps + step;
    const all = this.byKind.reduce((sum, of) => sum + of[at], 0);
    const lines = [`core ${profile.cores[core]}`];
    if (profile.time) {
      const length = profile.time.step / shorter;
      lines[0] += ` at ${timeText(profile.time.start + step * length, profile.time.clock, length)}`;
    }
    lines.push(samplesText(all));
    KINDS.forEach(({ name }, kind) => {
      if (this.byKind[kind][at]) lines.push(`${name} ${percent(this.byKind[kind][at], all)}`);
    });
    const long = core * profile.steps + Math.floor(step / shorter);
    if (this.ofFunction) lines.push(`${samplesText(this.ofFunction[long] * shorter)} of the selected function${shorter > 1 ? ' around here' : ''}`);
    if (profile.stepLost[long]) lines.push(`${samplesText(profile.stepLost[long])} lost`);
    return lines;
  }

  /** Arrows move the window by a tenth of it; with Shift its end; + and − halve and double it. */
  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.profile.time) return;
    const { steps } = this.profile;
    const [from, to] = this.selection || [0, steps];
    const by = Math.max(1, Math.round((to - from) / 10));
    const middle = (from + to) / 2;
    const next = {
      ArrowLeft: () => (event.shiftKey ? [from, Math.max(from + 1, to - by)] : [Math.max(0, from - by), Math.max(0, from - by) + to - from]),
      ArrowRight: () => (event.shiftKey ? [from, to + by] : [Math.min(from + by, steps - (to - from)), Math.min(to + by, steps)]),
      '+': () => [middle - (to - from) / 4, middle + (to - from) / 4],
      '-': () => [middle - (to - from), middle + (to - from)],
    }[event.key === '=' ? '+' : event.key];
    if (!next) return;
    event.preventDefault();
    const window = windowOf(...next(), steps);
    this.host.selectTime(window[0] === 0 && window[1] === steps ? null : window);
  }
}

/** Whole steps from one to another, in order: one at least. */
function windowOf(a, b, steps) {
  const from = Math.max(0, Math.min(steps - 1, Math.round(Math.min(a, b))));
  return [from, Math.min(steps, Math.max(from + 1, Math.round(Math.max(a, b))))];
}

/** 1, 2 or 5 times a power of ten, not less than this. */
function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map(it => it * power).find(it => it >= least * 0.999);
}
