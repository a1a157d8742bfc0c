// A table of many rows, of which only those that can be seen are elements.

const TABLE_ROW = 28;

class Table {
  /** A column has `key`, `name`, `text(row)` or `fill(cell, row)`, `value(row)` to sort by, `isNumber`. */
  constructor(box, columns, host) {
    this.box = box;
    this.columns = columns;
    this.host = host;
    this.sort = { key: columns.find(column => column.isFirst).key, isUp: false };
    this.rows = [];
    this.current = 0;
    this.made = new Map();
    this.build();
  }

  build() {
    this.head = element('div', { className: 'table-row table-head', role: 'row' });
    for (const column of this.columns) {
      const button = element('button', { title: column.title || '', onclick: () => this.sortBy(column) }, column.name);
      column.header = element('div', { role: 'columnheader', className: `cell ${column.className || ''}` }, button);
      this.head.append(column.header);
    }
    this.body = element('div', { className: 'table-body', role: 'rowgroup' });
    this.scroll = element('div', { className: 'table-scroll', tabIndex: 0, role: 'rowgroup' }, this.body);
    this.box.setAttribute('role', 'grid');
    this.box.classList.add('table');
    this.box.append(this.head, this.scroll);
    this.scroll.addEventListener('scroll', () => this.draw());
    this.scroll.addEventListener('keydown', event => this.onKey(event));
    new ResizeObserver(() => this.draw()).observe(this.scroll);
  }

  show(rows) {
    this.rows = rows;
    this.sortRows();
  }

  sortBy(column) {
    const isSame = this.sort.key === column.key;
    this.sort = { key: column.key, isUp: isSame ? !this.sort.isUp : !column.isNumber };
    this.sortRows();
    this.scroll.scrollTop = 0;
  }

  sortRows() {
    const { key, isUp } = this.sort;
    const column = this.columns.find(column => column.key === key);
    const sign = isUp ? 1 : -1;
    const text = this.columns.find(column => !column.isNumber);
    const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
    this.rows.sort((a, b) => sign * compare(column.value(a), column.value(b)) || compare(text.value(a), text.value(b)));
    for (const it of this.columns)
      it.header.setAttribute('aria-sort', it !== column ? 'none' : isUp ? 'ascending' : 'descending');
    this.current = Math.max(0, this.rows.findIndex(row => this.host.isSelected(row)));
    this.made.clear();
    this.body.replaceChildren();
    this.draw();
  }

  /** Only what has changed of how rows look. */
  refresh() {
    this.made.clear();
    this.body.replaceChildren();
    this.draw();
  }

  draw() {
    this.body.style.height = `${this.rows.length * TABLE_ROW}px`;
    const first = Math.max(0, Math.floor(this.scroll.scrollTop / TABLE_ROW) - 8);
    const end = Math.min(this.rows.length, first + Math.ceil(this.scroll.clientHeight / TABLE_ROW) + 16);
    for (const [index, made] of this.made) {
      if (index < first || index >= end) {
        made.remove();
        this.made.delete(index);
      }
    }
    for (let index = first; index < end; index++) {
      if (!this.made.has(index)) {
        const made = this.row(this.rows[index], index);
        this.made.set(index, made);
        this.body.append(made);
      }
    }
  }

  row(row, index) {
    const isSelected = this.host.isSelected(row);
    const made = element('div', {
      className: `table-row${isSelected ? ' selected' : ''}`,
      role: 'row',
      'aria-selected': String(isSelected),
      onclick: () => this.choose(index),
      ondblclick: () => this.host.open(row),
    });
    made.style.top = `${index * TABLE_ROW}px`;
    for (const column of this.columns) {
      const cell = element('div', { role: 'gridcell', className: `cell ${column.className || ''}` });
      if (column.fill) column.fill(cell, row);
      else cell.textContent = column.text(row);
      made.append(cell);
    }
    return made;
  }

  choose(index) {
    this.current = index;
    this.host.choose(this.rows[index]);
    const top = index * TABLE_ROW;
    if (top < this.scroll.scrollTop) this.scroll.scrollTop = top;
    const bottom = top + TABLE_ROW - this.scroll.clientHeight;
    if (bottom > this.scroll.scrollTop) this.scroll.scrollTop = bottom;
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.scroll.clientHeight / TABLE_ROW) - 1);
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -1e9, End: 1e9 }[event.key];
    if (by) {
      event.preventDefault();
      if (this.rows.length) this.choose(Math.max(0, Math.min(this.rows.length - 1, this.current + by)));
    } else if (event.key === 'Enter' && this.rows[this.current]) this.host.open(this.rows[this.current]);
  }
}

/** A number beside a bar of its share. */
function fillShare(cell, samples, all) {
  const bar = element('span', { className: 'share' });
  bar.style.width = `${all ? 100 * samples / all : 0}%`;
  cell.append(bar, element('span', { className: 'number' }, percent(samples, all)));
}
