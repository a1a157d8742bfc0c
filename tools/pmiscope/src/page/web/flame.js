// A flame graph on a canvas, the outermost frame on top.

const ROW = 21;
/** Frames that are narrower are not drawn, in pixels. */
const NARROWEST = 0.4;
const FONT = '12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';

class FlameGraph {
  /** `host` has the functions `select(own)`, `open(own)`, `tip(x, y, lines)`, `colours()`. */
  constructor(box, host, label) {
    this.host = host;
    this.box = box;
    this.canvas = element('canvas', { tabIndex: 0, role: 'application', 'aria-label': label });
    this.said = element('p', { className: 'unseen', 'aria-live': 'polite' });
    this.empty = element('p', { className: 'empty', hidden: true });
    box.append(this.canvas, this.said, this.empty);
    this.zoomed = null;
    this.hovered = null;
    this.focused = null;
    this.drawn = [];
    this.matches = null;
    this.canvas.addEventListener('pointermove', event => this.onMove(event));
    this.canvas.addEventListener('pointerleave', () => this.hover(null));
    this.canvas.addEventListener('click', event => this.onClick(event));
    this.canvas.addEventListener('dblclick', event => this.onOpen(event));
    this.canvas.addEventListener('keydown', event => this.onKey(event));
    new ResizeObserver(() => this.draw()).observe(box);
  }

  /** Shows a tree; what was zoomed in on stays, if it is there. */
  show(tree, options = {}) {
    const path = this.zoomed && this.pathOf(this.zoomed);
    const focus = this.focused && this.pathOf(this.focused);
    this.tree = tree;
    Object.assign(this, options);
    this.zoomed = (path && this.find(path)) || tree.root;
    this.focused = focus ? this.find(focus) : null;
    this.hovered = null;
    this.draw();
    if (this.onZoom) this.onZoom(this.zoomed);
  }

  pathOf(frame) {
    const path = [];
    for (let at = frame; at.parent; at = at.parent) path.unshift(at.own < 0 ? at.label : at.own);
    return path;
  }

  find(path) {
    let frame = this.tree.root;
    for (const key of path) {
      const next = frame.tree.of(frame).find(it => it.own === key || (it.own < 0 && it.label === key));
      if (!next) return null;
      frame = next;
    }
    return frame;
  }

  nameOf(frame) {
    return frame.own < 0 ? frame.label : this.host.model.functions[frame.own].name;
  }

  zoom(frame) {
    this.zoomed = frame;
    this.draw();
    if (this.onZoom) this.onZoom(frame);
  }

  /** Where each frame that can be seen is. */
  place(width) {
    const drawn = [];
    const ancestors = [];
    for (let at = this.zoomed.parent; at; at = at.parent) ancestors.unshift(at);
    ancestors.forEach((frame, depth) => drawn.push({ frame, depth, x: 0, width, isAbove: true }));
    let level = [{ frame: this.zoomed, depth: ancestors.length, x: 0, width }];
    while (level.length) {
      const next = [];
      for (const it of level) {
        drawn.push(it);
        if (it.frame.samples === 0) continue;
        let x = it.x;
        for (const child of it.frame.tree.of(it.frame)) {
          const own = it.width * child.samples / it.frame.samples;
          if (own >= NARROWEST) next.push({ frame: child, depth: it.depth + 1, x, width: own });
          x += own;
        }
      }
      level = next;
    }
    return drawn;
  }

  draw() {
    if (!this.tree) return;
    const width = this.box.clientWidth;
    if (!width) return;
    const isEmpty = this.tree.root.samples === 0;
    this.empty.hidden = !isEmpty;
    this.empty.textContent = 'No samples here.';
    this.canvas.hidden = isEmpty;
    if (isEmpty) { this.drawn = []; return; }
    this.drawn = this.place(width);
    let depth = 0;
    for (const it of this.drawn) depth = Math.max(depth, it.depth);
    const height = (depth + 1) * ROW;
    // Browsers draw nothing on a canvas that is too high.
    const ratio = Math.min(window.devicePixelRatio || 1, 16000 / height);
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    const context = this.canvas.getContext('2d');
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.font = FONT;
    context.textBaseline = 'middle';
    const colours = this.host.colours();
    for (const it of this.drawn) this.drawFrame(context, it, colours);
  }

  drawFrame(context, { frame, depth, x, width, isAbove }, colours) {
    const y = depth * ROW;
    const gap = width > 3 ? 1 : 0;
    const isMatch = this.matches && frame.own >= 0 && this.matches[frame.own];
    context.globalAlpha = isAbove ? 0.45 : this.matches && !isMatch ? 0.35 : 1;
    context.fillStyle = isMatch ? colours.match : this.colourOf(frame, colours);
    context.fillRect(x, y, width - gap, ROW - 1);
    context.globalAlpha = 1;
    if (frame === this.focused || frame === this.hovered) {
      context.strokeStyle = colours.text;
      context.lineWidth = frame === this.focused ? 2 : 1;
      context.strokeRect(x + 1, y + 1, Math.max(1, width - gap - 2), ROW - 3);
    } else if (frame.own >= 0 && frame.own === this.host.selected) {
      context.fillStyle = colours.accent;
      context.fillRect(x, y + ROW - 3, width - gap, 2);
    }
    if (width > 26) {
      context.fillStyle = isMatch ? colours.matchText : colours.frameText;
      context.globalAlpha = this.matches && !isMatch ? 0.7 : 1;
      const text = fitted(context, frame.own < 0 ? [frame.label] : this.names(frame.own), width - 9);
      if (text) context.fillText(text, x + 4, y + ROW / 2);
      context.globalAlpha = 1;
    }
  }

  names(own) {
    const it = this.host.model.functions[own];
    if (!it.shorter) it.shorter = [it.name, shortName(it.name, 1), shortName(it.name)];
    return it.shorter;
  }

  colourOf(frame, colours) {
    if (frame.own < 0) return colours.root;
    if (this.host.baseAll) {
      const { difference, isSignificant } =
        change(frame.samples, this.host.all, frame.base, this.host.baseAll);
      return isSignificant ? colours.changed(difference, frame.base / this.host.baseAll) : colours.same;
    }
    return this.host.colourOf(frame, colours);
  }

  at({ offsetX, offsetY }) {
    const depth = Math.floor(offsetY / ROW);
    return this.drawn.find(it => it.depth === depth && offsetX >= it.x && offsetX < it.x + Math.max(it.width, 2));
  }

  onMove(event) {
    const found = this.at(event);
    this.hover(found ? found.frame : null);
    if (found) this.host.tip(event.clientX, event.clientY, this.linesOf(found.frame));
  }

  hover(frame) {
    if (!frame) this.host.tip();
    this.canvas.classList.toggle('pointed', !!frame);
    if (frame === this.hovered) return;
    this.hovered = frame;
    this.draw();
  }

  onClick(event) {
    const found = this.at(event);
    if (!found) return;
    this.focused = found.frame;
    if (found.frame.own >= 0) this.host.select(found.frame.own);
    this.zoom(found.frame);
  }

  onOpen(event) {
    const found = this.at(event);
    if (found && found.frame.own >= 0) this.host.open(found.frame.own);
  }

  /** What is said of a frame. */
  linesOf(frame) {
    const root = this.tree.root;
    const lines = [this.nameOf(frame)];
    frame.tree.of(frame);
    lines.push(`${samplesText(frame.samples)}, ${percent(frame.samples, root.samples)}`);
    if (this.zoomed !== root && frame !== this.zoomed)
      lines.push(`${percent(frame.samples, this.zoomed.samples)} of ${shortName(this.nameOf(this.zoomed))}`);
    if (frame.own >= 0 && !frame.tree.isUpwards) lines.push(`itself ${percent(frame.self, root.samples)}`);
    if (this.host.baseAll && frame.own >= 0) {
      const it = change(frame.samples, this.host.all, frame.base, this.host.baseAll);
      lines.push(`before ${percent(frame.base, this.host.baseAll)}: ${points(it.difference)} points${it.isSignificant ? '' : ', within chance'}`);
    }
    if (frame.own >= 0) {
      const { file, line, isInlined } = this.host.model.functions[frame.own];
      if (file) lines.push(placeText(file, line) + (isInlined ? ' · inlined' : ''));
    }
    return lines;
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const at = this.focused || this.zoomed;
    const siblings = at.parent ? at.parent.tree.of(at.parent) : [at];
    const place = siblings.indexOf(at);
    const to = {
      ArrowDown: () => at.tree.of(at).find(it => it.samples > 0),
      ArrowUp: () => at.parent,
      ArrowLeft: () => siblings[place - 1],
      ArrowRight: () => siblings[place + 1],
      Home: () => this.tree.root,
    }[event.key];
    if (to) {
      event.preventDefault();
      this.focusOn(to() || at);
    } else if (event.key === 'Enter') this.zoom(at);
    else if (event.key === 'Escape' && this.zoomed !== this.tree.root) {
      this.zoom(this.tree.root);
      event.stopPropagation();
    }
  }

  focusOn(frame) {
    this.focused = frame;
    // What is not within the frame that is zoomed in on cannot be seen.
    let isWithin = false;
    for (let at = frame; at; at = at.parent) isWithin = isWithin || at === this.zoomed;
    for (let at = this.zoomed; at; at = at.parent) isWithin = isWithin || at === frame;
    if (!isWithin) this.zoomed = frame.parent || frame;
    if (frame.own >= 0) this.host.select(frame.own);
    this.draw();
    const it = this.drawn.find(it => it.frame === frame);
    if (!it) this.zoom(frame);
    else this.reveal(it.depth);
    this.said.textContent = this.linesOf(frame).join(', ');
  }

  reveal(depth) {
    const top = this.canvas.getBoundingClientRect().top + depth * ROW;
    if (top < 0 || top + ROW > innerHeight) scrollBy({ top: top - innerHeight / 2 });
  }
}

/** The longest of these texts that has room, or the beginning of the shortest. */
function fitted(context, texts, room) {
  for (const text of texts) if (context.measureText(text).width <= room) return text;
  const text = texts[texts.length - 1];
  let [low, high] = [0, text.length];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (context.measureText(text.slice(0, middle) + '…').width <= room) low = middle;
    else high = middle - 1;
  }
  return low > 1 ? text.slice(0, low) + '…' : '';
}
