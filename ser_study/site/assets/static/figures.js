// Drawings that answer to the pointer: titles at once, a choice among drawings, and planes of points. No library, nothing fetched.

// The title of a drawing's part, or the data-tip of a cell, in a box beside the pointer: sooner than the browser would show it.
const tip = document.createElement('div')
tip.className = 'tip'
tip.hidden = true
document.body.append(tip)

function tipOf(target) {
  for (let part = target; part instanceof SVGElement && part.tagName !== 'svg'; part = part.parentElement) {
    const title = part.querySelector(':scope > title')
    if (title) { part.dataset.tip = title.textContent; title.remove() }   // or the browser shows it a second time
    if (part.dataset.tip) return part.dataset.tip
  }
  return target instanceof Element ? target.closest('[data-tip]')?.dataset.tip ?? '' : ''
}

function showTip(event) {
  tip.textContent = tipOf(event.target)
  tip.hidden = tip.textContent === ''
  if (tip.hidden) return
  const { width, height } = tip.getBoundingClientRect()
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 12, document.documentElement.clientWidth - width - 4))}px`
  tip.style.top = `${event.clientY + 16 + height > innerHeight ? event.clientY - height - 8 : event.clientY + 16}px`
}
document.addEventListener('pointermove', showTip)
document.addEventListener('pointerdown', showTip)
document.addEventListener('scroll', () => { tip.hidden = true }, { passive: true })

// Several drawings in one place: a list to choose from. Without this script all of them are shown.
function makeChooser(chooser) {
  const figures = [...chooser.querySelectorAll('figure')]
  if (figures.length < 2) return
  const label = document.createElement('label'), select = document.createElement('select')
  label.append(`${chooser.dataset.label} `, select)
  for (const [number, figure] of figures.entries()) select.add(new Option(figure.dataset.name, number))
  select.addEventListener('change', () => figures.forEach((figure, number) => { figure.hidden = number !== Number(select.value) }))
  chooser.prepend(label)
  select.dispatchEvent(new Event('change'))
}

// A plane of points: x, y, names, and what they may be coloured by. Colours are those of the stylesheet; beyond eight they repeat with a hollow mark.
function makePlane(plane) {
  const sets = JSON.parse(plane.querySelector('script').textContent), svg = plane.querySelector('svg'), legend = plane.querySelector('.legend')
  const [features, colour] = plane.querySelectorAll('select'), shape = name => document.createElementNS('http://www.w3.org/2000/svg', name)
  for (const name of Object.keys(sets)) features.add(new Option(name))
  function choices() {
    const before = colour.value
    colour.replaceChildren(...Object.keys(sets[features.value].factors).map(name => new Option(name)))
    if ([...colour.options].some(option => option.value === before)) colour.value = before
  }
  function draw() {
    const { utterances, x, y, factors } = sets[features.value], { codes, names } = factors[colour.value]
    const low = [Math.min(...x), Math.min(...y)], reach = Math.max(Math.max(...x) - low[0], Math.max(...y) - low[1]) || 1
    svg.replaceChildren(...utterances.map((utterance, i) => {
      const point = shape('circle')
      point.setAttribute('cx', 10 + 580 * (x[i] - low[0]) / reach)
      point.setAttribute('cy', 590 - 580 * (y[i] - low[1]) / reach)
      point.setAttribute('r', 3)
      point.setAttribute('class', `point colour-${codes[i] % 8}${codes[i] % 16 > 7 ? ' hollow' : ''}`)
      point.dataset.tip = `${utterance}: ${Object.entries(factors).map(([factor, of]) => `${factor} ${of.names[of.codes[i]]}`).join(', ')}`
      return point
    }))
    legend.replaceChildren(...names.map((name, code) => {
      const item = document.createElement('li')
      item.className = `colour-${code % 8}${code % 16 > 7 ? ' hollow' : ''}`
      item.textContent = name
      return item
    }))
  }
  features.addEventListener('change', () => { choices(); draw() })
  colour.addEventListener('change', draw)
  choices()
  draw()
  plane.hidden = false
}

// A link to something inside a fold opens the fold.
function openFold() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)))
  const fold = target && target.closest('details:not([open])')
  if (fold) { fold.open = true; target.scrollIntoView() }
}
addEventListener('hashchange', openFold)

document.querySelectorAll('.chooser').forEach(makeChooser)
document.querySelectorAll('.plane').forEach(makePlane)
openFold()
