// Tables that sort and filter, with no library. A table with the class "sortable", or a data frame of a notebook, gets a button in each heading.

// What a cell is sorted by: its data-sort, or its text; a number where the text is one. A cell that says nothing comes last either way.
function sortKey(cell) {
  const text = (cell.dataset.sort ?? cell.textContent).trim()
  if (text === '' || text === '–' || text === 'NaN') return null
  const number = Number(text.replace(/,/g, '').replace(/[−–]/g, '-').replace(/^\+/, '').replace(/\s*\[.*$/s, ''))   // an interval after the number does not count
  return Number.isNaN(number) ? text : number
}

function compareKeys(a, b) {
  return typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b), 'en', { numeric: true })
}

function sortTable(table, heading) {
  const body = table.tBodies[0], column = heading.cellIndex
  const direction = heading.getAttribute('aria-sort') === 'ascending' ? 'descending' : 'ascending'
  for (const other of heading.parentElement.cells) other.removeAttribute('aria-sort')
  heading.setAttribute('aria-sort', direction)
  const sign = direction === 'ascending' ? 1 : -1
  const rows = [...body.rows].map(row => [sortKey(row.cells[column]), row])
  rows.sort(([a], [b]) => (a === null) - (b === null) || (a === null ? 0 : sign * compareKeys(a, b)))   // sort() is stable
  body.append(...rows.map(([, row]) => row))
}

function makeSortable(table) {
  const plain = table.tHead?.rows.length === 1 && table.tBodies.length === 1 && table.tBodies[0].rows.length > 1
  if (!plain || table.querySelector('[rowspan], [colspan]')) return
  for (const heading of table.tHead.rows[0].cells) {
    if (heading.hasAttribute('data-unsorted') || !heading.textContent.trim()) continue
    const button = document.createElement('button')
    button.type = 'button'
    button.className = 'sort'
    button.append(...heading.childNodes)
    button.addEventListener('click', () => sortTable(table, heading))
    heading.append(button)
  }
}

// The scoreboard: a button for each verdict and a choice of papers; a line says how many claims are shown.
function makeFilters(filters) {
  const rows = [...document.getElementById(filters.dataset.for).tBodies[0].rows]
  const buttons = [...filters.querySelectorAll('button[data-verdict]')], paper = filters.querySelector('select'), told = filters.querySelector('[role=status]')
  function apply() {
    const wanted = buttons.filter(button => button.getAttribute('aria-pressed') === 'true').map(button => button.dataset.verdict)
    for (const row of rows) row.hidden = (wanted.length > 0 && !wanted.includes(row.dataset.verdict)) || (paper.value !== '' && row.dataset.paper !== paper.value)
    const shown = rows.filter(row => !row.hidden).length
    told.textContent = shown === rows.length ? `All ${shown} claims` : `${shown} of ${rows.length} claims`
  }
  for (const button of buttons) {
    button.disabled = false
    button.addEventListener('click', () => { button.setAttribute('aria-pressed', String(button.getAttribute('aria-pressed') !== 'true')); apply() })
  }
  paper.disabled = false
  paper.addEventListener('change', apply)
  apply()
}

document.querySelectorAll('table.sortable, table.dataframe').forEach(makeSortable)
document.querySelectorAll('.filters').forEach(makeFilters)
