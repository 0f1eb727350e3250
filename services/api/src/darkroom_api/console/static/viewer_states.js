// Grayscale softcopy presentation states in OHIF, which has none of its own (docs/viewer.md): an
// image is shown as a state of its study wants it seen (PS3.3 A.33.1, PS3.4 N.2).
window.darkroomStates = (() => {
  const root = `${location.origin}/dicom-web`;
  const SOFTCOPY = '1.2.840.10008.5.1.4.1.1.11.1';
  const NOT_FOLLOWED = [
    ['00283010', 'a VOI LUT in a table'], ['20500010', 'a Presentation LUT in a table'],
    ['00283000', 'a Modality LUT in a table'], ['00286100', 'a mask'],
  ];
  const DRAWING = 'http://www.w3.org/2000/svg';
  const PATIENCE = 60000;
  const INCH = 25.4, OF_AN_INCH = 96;  // CSS knows no other size of a screen's pixel
  let services = {}, following = () => {};
  const all = (set, tag) => (set && set[tag] && set[tag].Value) || [];
  const first = (set, tag) => all(set, tag)[0];
  const text = (set, tag) => String(first(set, tag) ?? '');
  const number = (set, tag, otherwise) => Number(first(set, tag) ?? otherwise);
  const study = () => (new URLSearchParams(location.search).get('StudyInstanceUIDs') || '').split(',')[0];
  const get = async (path) => {
    const answer = await fetch(root + path, {headers: {Accept: 'application/dicom+json'}});
    if (answer.status === 204) return [];
    if (!answer.ok) throw new Error(`The viewer was answered ${answer.status}.`);
    return answer.json();
  };
  const until = async (what) => {
    for (const end = Date.now() + PATIENCE; Date.now() < end;) {
      const found = await what();
      if (found) return found;
      await new Promise((go) => setTimeout(go, 100));
    }
    throw new Error('The image of the presentation state is not shown.');
  };
  const say = (message, type = 'warning') => services.uiNotificationService.show(
    {title: 'Presentation state', message, type});

  const list = async () => (await get(
    `/studies/${study()}/instances?SOPClassUID=${SOFTCOPY}&includefield=00700080,00700081`)).map((one) => ({
    uid: text(one, '00080018'), series: text(one, '0020000E'),
    label: [text(one, '00700080'), text(one, '00700081')].filter(Boolean).join(', ') || 'Presentation state'}));

  const isOf = (item, image) => {
    const named = all(item, '00081140');
    return !named.length || named.some((one) => text(one, '00081155') === image.uid
      && (!all(one, '00081160').length || all(one, '00081160').map(Number).includes(image.frame)));
  };
  const itemOf = (state, tag, image) => all(state, tag).find((item) => isOf(item, image));
  const imageOf = (imageId) => {
    const [, uid, frame] = /\/instances\/([0-9.]+)\/frames\/(\d+)/.exec(imageId || '') || [];
    return uid ? {uid, frame: Number(frame)} : undefined;
  };
  const namedIn = (state) => all(state, '00081115').flatMap((series) => all(series, '00081140').map((one) => ({
    series: text(series, '0020000E'), uid: text(one, '00081155'), frames: all(one, '00081160').map(Number)})));
  const names = (state, image) => namedIn(state).some((one) => one.uid === image.uid
    && (!one.frames.length || one.frames.includes(image.frame)));

  // Window and inversion. The range that OHIF takes is in the units that it gives the image; the
  // window is in those of the state, which says itself what stored values mean.
  const range = (state, image, header) => {
    const of = (name, otherwise) => Number(header[name] ?? otherwise);
    const slope = number(state, '00281053', 1), intercept = number(state, '00281052', 0);
    const item = itemOf(state, '00283110', image);
    const bits = of('BitsStored', 8), signed = of('PixelRepresentation', 0) === 1;
    let [lower, upper] = (signed ? [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] : [0, 2 ** bits - 1])
      .map((value) => value * slope + intercept);
    if (item && first(item, '00281050') !== undefined) {
      const center = number(item, '00281050'), width = number(item, '00281051');
      const exact = text(item, '00281056') === 'LINEAR_EXACT';
      const [middle, half] = exact ? [center, width / 2] : [center - 0.5, (width - 1) / 2];
      [lower, upper] = [middle - half, middle + half];
    }
    const [a, b] = [lower, upper].map((value) => (value - intercept) / slope * of('RescaleSlope', 1)
      + of('RescaleIntercept', 0));
    return {lower: Math.min(a, b), upper: Math.max(a, b)};
  };

  const areaOf = (state, image, header) => {
    const item = itemOf(state, '0070005A', image);
    const [x, y] = all(item, '00700052'), [right, bottom] = all(item, '00700053');
    const [left, width] = [Math.min(x, right) - 1, Math.abs(right - x) + 1];
    const [top, height] = [Math.min(y, bottom) - 1, Math.abs(bottom - y) + 1];
    return Number.isFinite(left + top) ? {item, left, top, width, height}
      : {item, left: 0, top: 0, width: Number(header.Columns), height: Number(header.Rows)};
  };
  // Where a place of the image is on the canvas; 0, 0 is the corner of its first pixel.
  const placing = (viewport) => {
    const data = viewport.getImageData().imageData;
    return ([column, row]) => viewport.worldToCanvas(data.indexToWorld([column - 0.5, row - 0.5, 0]));
  };
  const boxOf = (viewport, area) => {
    const at = placing(viewport);
    const [a, b] = [at([area.left, area.top]), at([area.left + area.width, area.top + area.height])];
    return {x: Math.min(a[0], b[0]), y: Math.min(a[1], b[1]),
      width: Math.abs(a[0] - b[0]), height: Math.abs(a[1] - b[1])};
  };
  const fit = (viewport, area) => {
    const {clientWidth, clientHeight} = viewport.element;
    const before = boxOf(viewport, area), mode = text(area.item, '00700100');
    const across = before.width / (Math.abs(viewport.getRotation() % 180) === 90 ? area.height : area.width);
    let wanted = across * Math.min(clientWidth / before.width, clientHeight / before.height);
    if (mode === 'MAGNIFY') wanted = number(area.item, '00700103', 1);
    if (mode === 'TRUE SIZE') wanted = Number(all(area.item, '00700101')[1]) * OF_AN_INCH / INCH;
    viewport.setZoom(viewport.getZoom() * wanted / across);
    const off = () => {
      const box = boxOf(viewport, area);
      return [clientWidth / 2 - box.x - box.width / 2, clientHeight / 2 - box.y - box.height / 2];
    };
    for (const axis of [0, 1]) {
      const pan = [...viewport.getPan()], by = off()[axis];
      for (const sign of [1, -1]) {
        const moved = [...pan];
        moved[axis] += sign * by;
        viewport.setPan(moved);
        if (Math.abs(off()[axis]) <= Math.abs(by) / 2) break;
      }
    }
  };

  const ink = (value) => `rgb(${Array(3).fill(Math.round(Number(value) / 65535 * 255)).join(',')})`;
  const element = (name, attributes, content) => {
    const made = document.createElementNS(DRAWING, name);
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    if (content !== undefined) made.textContent = content;
    return made;
  };
  const path = (points, closed) => `M${points.map((one) => one.map((n) => n.toFixed(2)).join(' ')).join('L')}${closed ? 'Z' : ''}`;
  const pairs = (values) => Array.from({length: Math.floor(values.length / 2)}, (_, n) => [values[2 * n], values[2 * n + 1]]);
  const round = ([x, y], one, other) => Array.from({length: 97}, (_, step) => {
    const angle = 2 * Math.PI * step / 96;
    return [x + one[0] * Math.cos(angle) + other[0] * Math.sin(angle), y + one[1] * Math.cos(angle) + other[1] * Math.sin(angle)];
  });
  const outline = (kind, points) => {
    if (kind === 'CIRCLE' && points.length > 1) {
      const radius = Math.hypot(points[1][0] - points[0][0], points[1][1] - points[0][1]);
      return round(points[0], [radius, 0], [0, radius]);
    }
    if (kind === 'ELLIPSE' && points.length > 3) {
      const [[ax, ay], [bx, by], [cx, cy], [dx, dy]] = points;
      return round([(ax + bx) / 2, (ay + by) / 2], [(bx - ax) / 2, (by - ay) / 2], [(dx - cx) / 2, (dy - cy) / 2]);
    }
    return points;
  };
  const shutter = (state) => {  // what stays open, in places of the image (PS3.3 C.7.6.11)
    const shapes = all(state, '00181600');
    const open = [];
    if (shapes.includes('RECTANGULAR')) {
      const [left, right, upper, lower] = ['00181602', '00181604', '00181606', '00181608'].map((tag) => number(state, tag, 0));
      open.push([[left, upper], [right - 1, upper], [right - 1, lower - 1], [left, lower - 1]]);
    }
    if (shapes.includes('CIRCULAR')) {
      const [row, column] = all(state, '00181610'), radius = number(state, '00181612', 0);
      open.push(round([column - 0.5, row - 0.5], [radius, 0], [0, radius]));
    }
    if (shapes.includes('POLYGONAL')) open.push(pairs(all(state, '00181620')).map(([row, column]) => [column - 0.5, row - 0.5]));
    return open;
  };
  const draw = (viewport, state, image, header) => {
    const box = viewport.element;
    box.querySelector('.darkroom-state')?.remove();
    const sheet = element('svg', {class: 'darkroom-state', style: 'position:absolute;inset:0;width:100%;height:100%;pointer-events:none;overflow:hidden'});
    const at = placing(viewport), area = areaOf(state, image, header), shown = boxOf(viewport, area);
    const whole = [[0, 0], [header.Columns, 0], [header.Columns, header.Rows], [0, header.Rows]].map(at);
    shutter(state).forEach((open) => sheet.append(element('path', {
      d: path(whole, true) + path(open.map(at), true), 'fill-rule': 'evenodd', fill: ink(first(state, '00181622') ?? 0)})));
    const place = (units) => (units === 'DISPLAY'
      ? ([x, y]) => [shown.x + x * shown.width, shown.y + y * shown.height] : at);
    const layers = new Map(all(state, '00700060').map((one) => [text(one, '00700002'), one]));
    const annotations = all(state, '00700001').filter((item) => isOf(item, image));
    const order = (item) => number(layers.get(text(item, '00700002')), '00700062', 0);
    annotations.sort((a, b) => order(a) - order(b)).forEach((item) => {
      const colour = ink(first(layers.get(text(item, '00700002')), '00700066') ?? 65535);
      all(item, '00700009').forEach((one) => {
        const kind = text(one, '00700023'), to = place(text(one, '00700005'));
        const points = outline(kind, pairs(all(one, '00700022'))).map(to);
        if (kind === 'POINT') sheet.append(element('circle', {cx: points[0][0], cy: points[0][1], r: 2, fill: colour}));
        else sheet.append(element('path', {d: path(points), stroke: colour, 'stroke-width': 1.5, fill: text(one, '00700024') === 'Y' ? colour : 'none'}));
      });
      all(item, '00700008').forEach((one) => {
        const boxed = all(one, '00700010').length > 1;
        const [x, y] = place(text(one, boxed ? '00700003' : '00700004'))(all(one, boxed ? '00700010' : '00700014'));
        text(one, '00700006').split(/\r?\n/).forEach((line, n) => sheet.append(element('text', {
          x, y: y + 16 * (n + 1), fill: colour, 'font-size': 14, stroke: '#000', 'stroke-width': 3, 'paint-order': 'stroke'}, line)));
      });
    });
    box.append(sheet);
  };

  const plain = (viewport) => {
    viewport.element.querySelector('.darkroom-state')?.remove();
    viewport.resetProperties();
    viewport.setViewPresentation({rotation: 0, flipHorizontal: false, flipVertical: false});
    viewport.resetCamera();
    viewport.render();
  };
  const apply = (viewport, state, image, header) => {
    const properties = {voiRange: range(state, image, header), invert: text(state, '20500020') === 'INVERSE'};
    viewport.setProperties(properties);
    viewport.setViewPresentation({rotation: 0, flipHorizontal: false, flipVertical: false});
    viewport.resetCamera();
    // Clockwise by the state, then from left to right (PS3.3 C.10.6).
    const turned = number(state, '00700042', 0), flipped = text(state, '00700041') === 'Y';
    viewport.setViewPresentation({flipHorizontal: flipped, rotation: (flipped ? 360 - turned : turned) % 360});
    fit(viewport, areaOf(state, image, header));
    viewport.render();
    draw(viewport, state, image, header);
  };
  const show = async (entry) => {
    following();
    const {displaySetService, viewportGridService, cornerstoneViewportService} = services;
    const active = () => cornerstoneViewportService.getCornerstoneViewport(viewportGridService.getActiveViewportId());
    if (!entry) { const viewport = active(); if (viewport) plain(viewport); return; }
    const [state] = await get(`/studies/${study()}/series/${entry.series}/instances/${entry.uid}/metadata`);
    const named = namedIn(state);
    const sets = () => displaySetService.getActiveDisplaySets();
    const headers = () => new Map(sets().flatMap((set) => set.instances || (set.instance ? [set.instance] : []))
      .map((one) => [one.SOPInstanceUID, one]));
    const set = await until(() => sets().find((one) => named.some((image) => image.series === one.SeriesInstanceUID
      && headers().has(image.uid)) && !one.unsupported));
    const here = () => { const found = active(); return found && found.getImageIds && found; };
    const wanted = named.find((image) => headers().has(image.uid));
    const indexIn = (viewport) => viewport.getImageIds().findIndex((id) => {
      const image = imageOf(id);
      return image && image.uid === wanted.uid && (!wanted.frames.length || wanted.frames.includes(image.frame));
    });
    await until(() => here());
    if (indexIn(here()) < 0) {
      viewportGridService.setDisplaySetsForViewport({viewportId: viewportGridService.getActiveViewportId(),
        displaySetInstanceUIDs: [set.displaySetInstanceUID], viewportOptions: {viewportType: 'stack'}});
    }
    const viewport = await until(() => here() && here().setImageIdIndex && indexIn(here()) >= 0 && here().getImageData() && here());
    await viewport.setImageIdIndex(indexIn(viewport));
    const left = NOT_FOLLOWED.filter(([tag]) => tag in state || all(state, '00283110').some((item) => tag in item)).map(([, what]) => what);
    if (left.length) say(`Of this state ${left.join(' and ')} cannot be shown here.`);
    const now = () => imageOf(viewport.getCurrentImageId());
    const seen = () => {
      const image = now();
      if (image && names(state, image) && viewport.getImageData()) apply(viewport, state, image, headers().get(image.uid));
      else plain(viewport);
    };
    const redraw = () => {
      const image = now();
      if (image && names(state, image)) draw(viewport, state, image, headers().get(image.uid));
    };
    const box = viewport.element;
    box.addEventListener('CORNERSTONE_STACK_NEW_IMAGE', seen);
    box.addEventListener('CORNERSTONE_CAMERA_MODIFIED', redraw);
    following = () => {
      box.removeEventListener('CORNERSTONE_STACK_NEW_IMAGE', seen);
      box.removeEventListener('CORNERSTONE_CAMERA_MODIFIED', redraw);
      box.querySelector('.darkroom-state')?.remove();
      following = () => {};
    };
    seen();
    box.dataset.state = entry.uid;  // for whoever waits for it
    window.darkroomShown = viewport;
  };
  const shown = (entry) => show(entry).catch((fault) => say(fault.message, 'error'));

  let Choice;
  const choice = (React) => {
    Choice = Choice || (() => {
      const [states, put] = React.useState([]);
      const [chosen, choose] = React.useState('');
      React.useEffect(() => {
        const asked = new URLSearchParams(location.search).get('state');
        list().then((found) => {
          put(found);
          const one = found.find((each) => each.uid === asked);
          if (one) { choose(one.uid); shown(one); }
        }).catch((fault) => say(fault.message, 'error'));
      }, []);
      if (!states.length) return null;
      const pick = (event) => {
        choose(event.target.value);
        shown(states.find((one) => one.uid === event.target.value));
      };
      return React.createElement('select', {'aria-label': 'Presentation state', value: chosen, onChange: pick,
        className: 'bg-black text-primary mx-2 text-base'},
      [React.createElement('option', {key: '', value: ''}, 'As stored'),
        ...states.map((one) => React.createElement('option', {key: one.uid, value: one.uid}, one.label))]);
    });
    return React.createElement(Choice, {key: 'states'});
  };
  return {choice, extension: {id: 'darkroom.presentation-states',
    preRegistration: ({servicesManager}) => { services = servicesManager.services; }}};
})();
