// Lays images out on a film; REST draws the preview, which is the bitmap that is printed.
addEventListener('DOMContentLoaded', () => {
  const form = document.getElementById('film');
  if (!form) return;
  const boxes = document.getElementById('boxes');
  const preview = document.getElementById('preview');
  const print = document.getElementById('print');
  const state = document.getElementById('state');  // for who may write studies
  const picks = [...document.querySelectorAll('.pick')];
  const picture = new Map(picks.map((one) => [one.dataset.uid, one.querySelector('img').src]));
  let images = [];
  const layout = () => form.elements.layout.selectedOptions[0].dataset;
  const draw = () => {
    const {columns, rows} = layout();
    const each = columns * rows;
    const films = Math.max(1, Math.ceil(images.length / each));
    boxes.replaceChildren();
    boxes.style.gridTemplateColumns = `repeat(${columns}, 1fr)`;
    boxes.dataset.orientation = form.elements.orientation.value;
    for (let place = 0; place < films * each; place += 1) {
      const box = document.createElement('button');
      box.type = 'button';
      box.className = 'box';
      box.dataset.place = place;
      const uid = images[place];
      box.setAttribute('aria-label', uid ? `Box ${place + 1}: take the image away` : `Box ${place + 1}, empty`);
      if (uid) {
        const shown = new Image();
        shown.src = picture.get(uid);
        shown.alt = '';
        box.append(shown);
      }
      boxes.append(box);
    }
    document.getElementById('films').textContent = `${images.length} image${images.length === 1 ? '' : 's'}, ${films} film${films > 1 ? 's' : ''}`;
    print.disabled = !images.length;
    if (state) state.disabled = !images.length;
  };
  const order = () => {
    const given = form.elements;
    const body = {printer: given.printer.value, layout: given.layout.value,
      orientation: given.orientation.value, images: images.map((uid) => ({sop_instance_uid: uid}))};
    if (given.film_size.value) body.film_size = given.film_size.value;
    if (given.center.value && given.width.value) {
      body.window = {center: Number(given.center.value), width: Number(given.width.value)};
    }
    return body;
  };
  const ask = async (path, body, headers = {}) => {
    window.darkroom.working(path);
    try {
      const answer = await fetch(path, {method: 'POST', body: JSON.stringify(body), headers: {
        'Content-Type': 'application/json', 'X-Requested-With': 'darkroom-console',
        'X-CSRFToken': window.darkroom.csrf() || '', ...headers}});
      if (answer.ok) return answer;
      const problem = await answer.json();
      throw new Error([problem.detail, ...problem.errors.map((one) => one.message)].join(' '));
    } finally { window.darkroom.working(path, true); }
  };
  const sized = () => {
    const select = form.elements.film_size;
    const chosen = select.value;
    const known = form.elements.printer.selectedOptions[0].dataset.sizes.split(' ').filter(Boolean);
    select.replaceChildren(new Option('Of the printer', ''), ...known.map((one) => new Option(one, one)));
    select.value = known.includes(chosen) ? chosen : '';
  };
  const place = (uid, at) => {
    images = images.filter((one, index) => index !== at || at >= images.length);
    images.splice(Math.min(at, images.length), 0, uid);
    draw();
  };
  picks.forEach((one) => {
    one.addEventListener('click', () => place(one.dataset.uid, images.length));
    one.addEventListener('dragstart', (event) => event.dataTransfer.setData('text/plain', one.dataset.uid));
  });
  boxes.addEventListener('dragover', (event) => event.preventDefault());
  boxes.addEventListener('drop', (event) => {
    event.preventDefault();
    const box = event.target.closest('.box');
    const uid = event.dataTransfer.getData('text/plain');
    if (box && picture.has(uid)) place(uid, Number(box.dataset.place));
  });
  boxes.addEventListener('click', (event) => {
    const box = event.target.closest('.box');
    if (box) { images.splice(Number(box.dataset.place), 1); draw(); }
  });
  form.addEventListener('change', (event) => {
    const {preset, center, width, printer} = form.elements;
    if (event.target === preset) [center.value, width.value] = preset.value ? preset.value.split(',') : ['', ''];
    if (event.target === center || event.target === width) preset.value = '';
    if (event.target === printer) sized();
    draw();
  });
  document.getElementById('all').addEventListener('click', () => {
    images = picks.map((one) => one.dataset.uid);
    draw();
  });
  document.getElementById('none').addEventListener('click', () => { images = []; draw(); });
  document.getElementById('look').addEventListener('click', async () => {
    if (!images.length) { window.darkroom.say('Put an image on the film first.', true); return; }
    preview.setAttribute('aria-busy', 'true');
    try {
      const answer = await ask('/api/v1/print/preview', {...order(), max_edge: 900});
      const shown = new Image();
      shown.alt = 'The film as it is printed';
      shown.src = URL.createObjectURL(await answer.blob());
      preview.replaceChildren(shown);
    } catch (fault) { window.darkroom.say(fault.message, true); }
    preview.removeAttribute('aria-busy');
  });
  print.addEventListener('click', async () => {
    print.disabled = true;
    try {
      await ask('/api/v1/print/jobs', {...order(), copies: Number(form.elements.copies.value) || 1},
        {'Idempotency-Key': `console-${Date.now()}-${Math.random().toString(36).slice(2)}`});
      location.assign('/film/queue');
    } catch (fault) { window.darkroom.say(fault.message, true); print.disabled = false; }
  });
  // What the film shows of its images, for whoever looks at them on a screen (PS3.3 A.33.1).
  if (state) state.addEventListener('click', async () => {
    const {window: shown} = order();
    const body = {study: form.dataset.study, images: [...new Set(images)], label: 'FILM'};
    if (shown) body.window = shown;
    state.disabled = true;
    try {
      await ask('/api/v1/objects/presentation-state', body);
      location.assign(`/study/${encodeURIComponent(form.dataset.study)}`);
    } catch (fault) { window.darkroom.say(fault.message, true); state.disabled = false; }
  });
  const windowed = new URLSearchParams(location.search).get('image');
  if (windowed && picture.has(windowed)) images = [windowed];
  sized();
  draw();
});
