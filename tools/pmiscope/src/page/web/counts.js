// Counts samples: all numbers that the page shows are made here, of the rows that the tool has
// counted, so that they are the report's.

/** Which samples are counted. `null` is all of them. */
function everything() {
  return { time: null, core: null, task: null, event: null, kinds: null, isOff: null };
}

/** The samples of a profile that a selection has: by row, call and function. */
class Counts {
  constructor(model, profile, selection, isSameRun = true) {
    this.model = model;
    this.profile = profile;
    this.selection = selection;
    this.ofRows = rowsOf(profile, selection, isSameRun);
    this.count();
  }

  count() {
    const { model, profile, ofRows } = this;
    const { callParent, callFunction, isOutermost } = model;
    const ofCalls = new Float64Array(callParent.length);
    const ownOfCalls = new Float64Array(callParent.length);
    const self = new Float64Array(model.functions.length);
    const total = new Float64Array(model.functions.length);
    let all = 0;
    for (let row = 0; row < ofRows.length; row++) {
      const samples = ofRows[row];
      if (samples === 0) continue;
      all += samples;
      ownOfCalls[profile.rowCall[row]] += samples;
      const own = profile.rowOwn[row];
      self[own] += samples;
      // One that is executing and not on the stack has an exact address elsewhere.
      if (callFunction[profile.rowCall[row]] !== own && !this.isOnStack(own, profile.rowCall[row]))
        total[own] += samples;
    }
    ofCalls.set(ownOfCalls);
    for (let call = ofCalls.length - 1; call >= 0; call--) {
      const samples = ofCalls[call];
      if (samples === 0) continue;
      if (callParent[call] >= 0) ofCalls[callParent[call]] += samples;
      if (isOutermost[call]) total[callFunction[call]] += samples;
    }
    Object.assign(this, { all, ofCalls, ownOfCalls, self, total });
  }

  isOnStack(own, call) {
    const { callParent, callFunction } = this.model;
    for (let at = call; at >= 0; at = callParent[at]) if (callFunction[at] === own) return true;
    return false;
  }

  /** The samples of stacks on which a function is that `isIt` says yes to. */
  ofStacksWith(isIt) {
    const has = callsBelow(this.model, isIt);
    let samples = 0;
    for (let row = 0; row < this.ofRows.length; row++)
      if (has[this.profile.rowCall[row]] || isIt[this.profile.rowOwn[row]]) samples += this.ofRows[row];
    return samples;
  }

  /** For each value of a key of rows the samples. */
  by(keyOfRow) {
    const samples = new Map();
    for (let row = 0; row < this.ofRows.length; row++) {
      if (this.ofRows[row] === 0) continue;
      const key = keyOfRow[row];
      samples.set(key, (samples.get(key) || 0) + this.ofRows[row]);
    }
    return samples;
  }
}

/** For each call whether a function that `isIt` says yes to is in it or further out. */
function callsBelow(model, isIt) {
  const { callParent, callFunction } = model;
  const has = new Uint8Array(callParent.length);
  for (let call = 0; call < has.length; call++)
    has[call] = isIt[callFunction[call]] || (callParent[call] >= 0 && has[callParent[call]]) ? 1 : 0;
  return has;
}

/** The rows that a selection has, whenever and wherever their samples were. */
function selectedRows(profile, selection) {
  const count = profile.rowNode.length;
  const isSelected = new Uint8Array(count);
  const event = selection.event === null ? null : profile.events.findIndex(it => it.name === selection.event);
  for (let row = 0; row < count; row++) {
    isSelected[row] =
      (selection.task === null || profile.taskName.get(profile.rowTask[row]) === selection.task) &&
      (event === null || profile.rowEvent[row] === event) &&
      (selection.kinds === null || selection.kinds.includes(profile.rowKind[row])) &&
      (selection.isOff === null || (profile.rowFlags[row] & FLAG_INTERRUPTS_OFF)) ? 1 : 0;
  }
  return isSelected;
}

/** The samples of each row. A window of time is of the run that is shown. */
function rowsOf(profile, selection, isSameRun) {
  const isSelected = selectedRows(profile, selection);
  const ofRows = new Float64Array(isSelected.length);
  const [from, to] = isSameRun && selection.time ? selection.time : [0, profile.steps];
  const { stepStart, countRow, countSamples, steps } = profile;
  for (let core = 0; core < profile.cores.length; core++) {
    if (selection.core !== null && core !== selection.core) continue;
    const end = stepStart[core * steps + to];
    for (let at = stepStart[core * steps + from]; at < end; at++) {
      const row = countRow[at];
      if (isSelected[row]) ofRows[row] += countSamples[at];
    }
  }
  return ofRows;
}

/** Calls that are drawn as one frame: equal functions that were called from one frame. What it is
 *  made of is looked for when it is asked for, as few are wide enough to be seen. */
class Frame {
  constructor(tree, own, parent, label = null) {
    this.tree = tree;
    this.own = own;
    this.parent = parent;
    this.label = label;
    this.calls = [];
    this.samples = 0;
    this.base = 0;
    /** Samples of the frame alone, without those further in (further out, where that is turned). */
    this.self = 0;
    this.made = null;
  }
}

/** A tree of frames from a root, one way or the other. */
class FrameTree {
  /** Further in: each call has all samples of it and what it calls. */
  static downwards(counts, baseCounts, roots, label) {
    const tree = new FrameTree(counts, baseCounts);
    tree.isUpwards = false;
    tree.root = new Frame(tree, -1, null, label);
    tree.children = callsOfParents(counts.model);
    for (const call of roots) tree.take(tree.root, call, counts.ofCalls[call], baseCounts ? baseCounts.ofCalls[call] : 0);
    return tree;
  }

  /** From frames to what has called them; `of` says which, and `weights` how many samples each has. */
  static upwards(counts, baseCounts, weights, baseWeights, of, label) {
    const tree = new FrameTree(counts, baseCounts);
    tree.isUpwards = true;
    tree.root = new Frame(tree, -1, null, label);
    tree.root.isTop = true;
    tree.root.cursors = [];
    tree.root.weights = [];
    tree.root.baseWeights = [];
    for (const call of of) {
      const samples = weights[call], base = baseWeights ? baseWeights[call] : 0;
      if (samples === 0 && base === 0) continue;
      tree.root.cursors.push(call);
      tree.root.weights.push(samples);
      tree.root.baseWeights.push(base);
      tree.root.samples += samples;
      tree.root.base += base;
    }
    return tree;
  }

  constructor(counts, baseCounts) {
    this.counts = counts;
    this.baseCounts = baseCounts;
    this.model = counts.model;
  }

  take(frame, call, samples, base) {
    frame.calls.push(call);
    frame.samples += samples;
    frame.base += base;
  }

  /** The frames behind one, most samples first. */
  of(frame) {
    if (!frame.made) {
      const made = this.isUpwards ? this.callersOf(frame) : this.calleesOf(frame);
      // By name where there is nothing else: what a window of time changes stays where it is.
      const { functions } = this.model;
      made.sort((a, b) => b.samples - a.samples || (functions[a.own].name < functions[b.own].name ? -1 : 1));
      frame.made = made;
      let behind = 0;
      for (const it of made) behind += it.samples;
      frame.self = frame.samples - behind;
    }
    return frame.made;
  }

  calleesOf(frame) {
    const { callFunction } = this.model;
    const { first, calls } = this.children;
    const byFunction = new Map();
    const add = call => {
      const samples = this.counts.ofCalls[call];
      const base = this.baseCounts ? this.baseCounts.ofCalls[call] : 0;
      if (samples === 0 && base === 0) return;
      const own = callFunction[call];
      let child = byFunction.get(own);
      if (!child) byFunction.set(own, (child = new Frame(this, own, frame)));
      this.take(child, call, samples, base);
    };
    if (frame === this.root) frame.calls.forEach(add);
    else for (const of of frame.calls) for (let at = first[of]; at < first[of + 1]; at++) add(calls[at]);
    return [...byFunction.values()];
  }

  callersOf(frame) {
    const { callParent, callFunction } = this.model;
    const byFunction = new Map();
    for (let i = 0; i < frame.cursors.length; i++) {
      // Cursors of the top are on the frames behind it, all others' on the frame itself.
      const call = frame.isTop ? frame.cursors[i] : callParent[frame.cursors[i]];
      if (call < 0) continue;
      const own = callFunction[call];
      let child = byFunction.get(own);
      if (!child) {
        byFunction.set(own, (child = new Frame(this, own, frame)));
        child.places = new Map();
        child.cursors = [];
        child.weights = [];
        child.baseWeights = [];
      }
      let place = child.places.get(call);
      if (place === undefined) {
        child.places.set(call, (place = child.cursors.length));
        child.cursors.push(call);
        child.weights.push(0);
        child.baseWeights.push(0);
      }
      child.weights[place] += frame.weights[i];
      child.baseWeights[place] += frame.baseWeights[i];
      child.samples += frame.weights[i];
      child.base += frame.baseWeights[i];
    }
    for (const child of byFunction.values()) child.places = null;
    return [...byFunction.values()];
  }
}

/** Trees side by side, each on a frame of its own. */
class Forest {
  constructor(trees, label) {
    this.root = new Frame(this, -1, null, label);
    this.root.made = trees.map(tree => tree.root);
    for (const { root } of trees) {
      root.parent = this.root;
      this.root.samples += root.samples;
      this.root.base += root.base;
    }
  }

  of(frame) {
    return frame.made;
  }
}

/** The calls that are made from each: `calls` from `first[call]` to `first[call + 1]`. */
function callsOfParents(model) {
  if (model.childrenOfCalls) return model.childrenOfCalls;
  const { callParent } = model;
  const first = new Uint32Array(callParent.length + 2);
  for (const parent of callParent) if (parent >= 0) first[parent + 2]++;
  for (let i = 2; i < first.length; i++) first[i] += first[i - 1];
  const calls = new Uint32Array(callParent.length);
  for (let call = 0; call < callParent.length; call++) {
    const parent = callParent[call];
    if (parent >= 0) calls[first[parent + 1]++] = call;
  }
  return (model.childrenOfCalls = { first, calls });
}

/** The calls that no other has made. */
function rootCalls(model) {
  const roots = [];
  for (let call = 0; call < model.callParent.length; call++) if (model.callParent[call] < 0) roots.push(call);
  return roots;
}

/** The outermost calls of a function. */
function outermostCalls(model, own) {
  const calls = [];
  for (let call = 0; call < model.callFunction.length; call++)
    if (model.callFunction[call] === own && model.isOutermost[call]) calls.push(call);
  return calls;
}
