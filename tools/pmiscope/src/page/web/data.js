// What the page is given: unpacks it, and makes one model of its one or two profiles.

/** The bytes behind a text in base64. */
function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const binary = atob(base64);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/** What `pack.rs` has made. */
async function unpack(packed) {
  if (typeof DecompressionStream === 'undefined')
    throw new Error('This browser is too old for the page: it has no DecompressionStream.');
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate'));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const length = new DataView(bytes.buffer).getUint32(0, true);
  const text = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  if (text.format !== 1) throw new Error('The data are of another version than the page.');
  let at = 4 + length;
  for (const profile of text.profiles) {
    const columns = {};
    for (const [name, count] of profile.columns) {
      // Counts may be more than 32 bits have.
      const isCount = ['stepSamples', 'stepLost', 'laneSamples'].includes(name);
      const column = isCount ? new Float64Array(count) : new Uint32Array(count);
      for (let i = 0; i < count; i++) {
        let byte = bytes[at++];
        let number = byte & 0x7f;
        for (let scale = 128; byte & 0x80; scale *= 128) {
          byte = bytes[at++];
          number += (byte & 0x7f) * scale;
        }
        column[i] = number;
      }
      columns[name] = column;
    }
    profile.columns = columns;
  }
  return text;
}

/** What a sample's core was doing: the first that is true of it. */
const KINDS = [
  { key: 'idle', name: 'idle' },
  { key: 'interrupt', name: 'interrupt' },
  { key: 'user', name: 'user' },
  { key: 'kernel', name: 'kernel' },
];
const [IDLE, INTERRUPT, USER, KERNEL] = [0, 1, 2, 3];
/** Behind the number of the kind. */
const FLAG_INTERRUPTS_OFF = 4;

/** Functions and calls of all profiles: what has one name is one function. */
class Model {
  constructor(text) {
    this.version = text.version;
    this.functions = [];
    this.byName = new Map();
    /** For each call the one that it is made from, which has a smaller number, or -1; its function. */
    this.callParent = [];
    this.callFunction = [];
    const children = new Map();
    this.profiles = text.profiles.map(data => new Profile(this, data, children));
    this.shown = this.profiles[this.profiles.length - 1];
    this.base = this.profiles.length > 1 ? this.profiles[0] : null;
    this.callParent = Int32Array.from(this.callParent);
    this.callFunction = Int32Array.from(this.callFunction);
    this.isOutermost = this.findOutermost();
  }

  /** The function of a name, new if there is none. */
  intern(name, file, line, isInlined) {
    let number = this.byName.get(name);
    if (number === undefined) {
      number = this.functions.length;
      this.byName.set(name, number);
      this.functions.push({ name, file, line, isInlined, isMark: name.startsWith('[') });
    } else {
      // The profile that is shown comes last.
      Object.assign(this.functions[number], { file, line, isInlined });
    }
    return number;
  }

  /** For each call whether its function is not among those that it is made from: samples of a
   *  function are counted there, once each. */
  findOutermost() {
    const { callParent, callFunction } = this;
    const isOutermost = new Uint8Array(callParent.length);
    for (let call = 0; call < callParent.length; call++) {
      const own = callFunction[call];
      let at = callParent[call];
      while (at >= 0 && callFunction[at] !== own) at = callParent[at];
      isOutermost[call] = at < 0 ? 1 : 0;
    }
    return isOutermost;
  }
}

/** A profile: what the page is given, with numbers of the model's functions and calls. */
class Profile {
  constructor(model, data, children) {
    this.name = data.name;
    this.run = data.run;
    this.events = data.events;
    this.tasks = data.tasks;
    this.taskName = new Map(data.tasks.map(task => [task.number, task.name]));
    this.cores = data.cores;
    this.time = data.time;
    this.steps = data.steps;
    this.files = data.files;
    this.code = data.code || {};
    this.shorter = data.shorter;
    this.laneSamples = data.columns.laneSamples;
    const columns = data.columns;
    this.functionOf = data.functions.map(([name, file, line, isInlined]) =>
      model.intern(name, file === null ? null : data.files[file], line, isInlined));
    this.places = data.places;
    for (const place of this.places)
      place.frames = place.frames.map(([own, file, line]) => ({ own: this.functionOf[own], file, line }));
    const calls = this.addCalls(model, columns, children);
    this.addNodes(columns, calls);
    this.addRows(columns);
    this.addSteps(columns);
  }

  addCalls(model, { callParent, callFunction }, children) {
    const calls = new Int32Array(callParent.length);
    const isFirst = model.callParent.length === 0;
    for (let i = 0; i < calls.length; i++) {
      const parent = callParent[i] === 0 ? -1 : calls[i - callParent[i]];
      const own = this.functionOf[callFunction[i]];
      const key = (parent + 1) * 0x200000 + own;
      let call = children.get(key);
      if (call === undefined) {
        call = model.callParent.length;
        model.callParent.push(parent);
        model.callFunction.push(own);
        children.set(key, call);
      }
      calls[i] = call;
    }
    return calls;
  }

  /** The tree of places. */
  addNodes({ nodeParent, nodePlace, nodeCall }, calls) {
    const count = nodeParent.length;
    this.nodeParent = new Int32Array(count);
    this.nodePlace = nodePlace;
    this.nodeCall = new Int32Array(count);
    for (let node = 0; node < count; node++) {
      const parent = nodeParent[node] === 0 ? -1 : node - nodeParent[node];
      this.nodeParent[node] = parent;
      this.nodeCall[node] = calls[nodeCall[node]];
    }
  }

  addRows({ rowNode, rowExact, rowFlags, rowTask, rowEvent }) {
    const count = rowNode.length;
    Object.assign(this, { rowNode, rowFlags, rowTask, rowEvent });
    this.rowCall = new Int32Array(count);
    this.rowKind = new Uint8Array(count);
    /** Where and in which function a sample was executing. */
    this.rowPlace = new Int32Array(count);
    this.rowOwn = new Int32Array(count);
    for (let row = 0; row < count; row++) {
      const node = rowNode[row];
      this.rowCall[row] = this.nodeCall[node];
      const place = rowExact[row] ? rowExact[row] - 1 : this.nodePlace[node];
      this.rowPlace[row] = place;
      this.rowOwn[row] = this.places[place].frames[0].own;
      this.rowKind[row] = rowFlags[row] & 3;
    }
  }

  /** The counts of each core's steps, one behind the other, and where each step's begin. */
  addSteps({ stepLength, stepRow, stepSamples, stepLost }) {
    this.stepStart = new Uint32Array(stepLength.length + 1);
    this.countRow = new Uint32Array(stepRow.length);
    this.countSamples = stepSamples;
    this.stepLost = stepLost;
    let at = 0;
    for (let step = 0; step < stepLength.length; step++) {
      this.stepStart[step] = at;
      let row = 0;
      for (const end = at + stepLength[step]; at < end; at++) {
        row += stepRow[at];
        this.countRow[at] = row;
      }
    }
    this.stepStart[stepLength.length] = at;
  }

  stepAt(ticks) {
    return (ticks - this.time.start) / this.time.step;
  }

  /** How much time a step is from the run's begin, in ticks. */
  ticksAt(step) {
    return this.time ? this.time.start + step * this.time.step : step;
  }
}
