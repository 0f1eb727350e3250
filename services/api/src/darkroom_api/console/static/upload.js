// Stores dropped files: DICOM objects by STOW-RS, one a request; of pictures and documents objects are made
// once somebody has said whose they are. ZIP files are opened here, one of their files at a time.
addEventListener('DOMContentLoaded', () => {
  const at = (id) => document.getElementById(id);
  const drop = at('drop');
  const bar = at('bar');
  const AT_ONCE = 3;
  const waiting = [];
  const held = [];
  let running = 0;
  let done = 0;
  let failed = 0;
  let passed = 0;
  let all = 0;
  let over = Promise.resolve();

  const say = () => {
    bar.hidden = !all;
    bar.max = all || 1;
    bar.value = done + failed;
    at('sum').textContent = !all && !passed ? '' : `${done} of ${all} stored${failed ? `, ${failed} not` : ''}.`
      + (passed ? ` ${passed} other ${passed === 1 ? 'file' : 'files'} of the medium passed over.` : '');
    at('pictures').hidden = !held.length && !at('pictures').dataset.chosen;
    at('held').textContent = held.length === 1 ? '1 picture or PDF waits'
      : `${held.length} pictures and PDFs wait`;
    at('make').disabled = !held.length || !document.querySelector('[name=whose]:checked');
  };
  const tell = (name, text) => {
    failed += 1;
    at('refused').hidden = false;
    const row = at('refused').querySelector('tbody').insertRow();
    row.insertCell().textContent = name;
    row.insertCell().textContent = text;
    say();
  };
  const refusal = async (answer) => {
    try {
      const problem = await answer.json();
      return [problem.detail, ...(problem.errors || []).map((one) => one.message)].join(' ');
    } catch (fault) { return `It was refused (${answer.status}).`; }
  };
  const post = (path, body, headers = {}) => fetch(path, {
    method: 'POST', body,
    headers: {'X-CSRFToken': window.darkroom.csrf() || '', 'X-Requested-With': 'darkroom-console', ...headers}});

  // Asks again when no answer has come: with its key, the same request makes one object.
  const surely = async (path, body) => {
    const key = {'Idempotency-Key': crypto.getRandomValues(new Uint32Array(4)).join('-')};
    for (let left = 2; ; left -= 1) {
      try { return await post(path, body, key); } catch (fault) {
        if (!left) throw fault;
        await new Promise((go) => setTimeout(go, 1500));
      }
    }
  };

  // What a file is, by its first bytes; a binary model (STL) by its length, which it says itself.
  const DOCUMENTS = ['pdf', 'clinical-document', 'model'];
  const kindOf = async (blob) => {
    const head = new Uint8Array(await blob.slice(0, 132).arrayBuffer());
    if (head.length >= 84 && new DataView(head.buffer).getUint32(80, true) * 50 + 84 === blob.size) return 'model';
    const text = String.fromCharCode(...head);
    if (text.slice(128) === 'DICM') return 'dicom';
    if (text.startsWith('%PDF-')) return 'pdf';
    if (/^(\u00ff\u00d8\u00ff|\u0089PNG|II\*\0|MM\0\*|BM)/.test(text)) return 'secondary-capture';
    if (/<ClinicalDocument[\s>]/.test(await blob.slice(0, 4096).text())) return 'clinical-document';
    return '';
  };

  const store = async (blob) => {
    const edge = `darkroom-${crypto.getRandomValues(new Uint32Array(4)).join('')}`;
    const body = new Blob([`--${edge}\r\nContent-Type: application/dicom\r\n\r\n`, blob, `\r\n--${edge}--\r\n`]);
    return post('/dicom-web/studies', body, {
      'Content-Type': `multipart/related; type="application/dicom"; boundary=${edge}`,
      'Accept': 'application/dicom+json'});
  };
  const settle = async ({name, open, medium}) => {
    const blob = await open();
    const kind = await kindOf(blob);
    if (kind === 'dicom') {
      const answer = await store(blob);
      if (answer.ok) done += 1;
      else tell(name, await refusal(answer));
    } else if (medium) { // what else is on a CD: its viewer and the pictures of that
      all -= 1;
      passed += 1;
    } else if (kind) {
      all -= 1;
      held.push({name, blob, kind});
    } else tell(name, 'It is neither a DICOM file nor a picture, PDF, clinical document (CDA) or binary model (STL).');
  };
  const go = () => {
    say();
    while (running < AT_ONCE && waiting.length) {
      const one = waiting.shift();
      running += 1;
      settle(one).catch((fault) => tell(one.name, fault instanceof TypeError
        ? 'Darkroom does not answer, or the file cannot be read.' : fault.message))
        .finally(() => { running -= 1; go(); });
    }
  };

  // Objects of pictures and PDFs: all of one press are one series of pictures, and one of documents.
  const make = async () => {
    const chosen = document.querySelector('[name=whose]:checked');
    const [what, id] = chosen.value.split(/:(.*)/);
    const series = {};
    const number = {};
    at('make').disabled = true;
    for (const {name, blob, kind} of held.splice(0)) {
      all += 1;
      say();
      number[kind] = (number[kind] || 0) + 1;
      const label = at('label').value.trim() || name.split('/').pop().replace(/\.[^.]*$/, '');
      const text = label.replace(/[\u0000-\u001f\u007f\\]/g, ' ').slice(0, 64);
      const values = {[what]: id, instance_number: number[kind], series_description: text,
        burned_in_annotation: at('burned').checked,
        ...(series[kind] ? {series_instance_uid: series[kind]} : {}),
        ...(DOCUMENTS.includes(kind) ? {title: text} : {modality: at('modality').value})};
      const form = new FormData();
      form.append('values', new Blob([JSON.stringify(values)], {type: 'application/json'}));
      form.append(DOCUMENTS.includes(kind) ? 'document' : 'pixels', blob, 'file');
      try {
        const answer = await surely(`/api/v1/objects/${kind}`, form);
        if (answer.ok) {
          const made = await answer.json();
          done += 1;
          series[kind] = made.series_instance_uid;
          at('there').hidden = false;
          at('there').href = `/study/${made.study_instance_uid}`;
        } else tell(name, await refusal(answer));
      } catch (fault) { tell(name, 'Darkroom does not answer.'); }
      say();
    }
  };
  at('make').addEventListener('click', make);
  document.addEventListener('change', (event) => { if (event.target.name === 'whose') say(); });
  document.addEventListener('htmx:afterSwap', say);

  // Files of a ZIP file, none of them opened yet.
  const unzip = async (name, blob) => {
    const tail = new DataView(await blob.slice(Math.max(0, blob.size - 65557)).arrayBuffer());
    let end = tail.byteLength - 22;
    while (end >= 0 && tail.getUint32(end, true) !== 0x06054b50) end -= 1;
    if (end < 0) throw new Error('The ZIP file is cut off.');
    const start = tail.getUint32(end + 16, true);
    if (start === 0xffffffff) throw new Error('The ZIP file is larger than 4 GB: unpack it and drop the folder.');
    const table = new DataView(await blob.slice(start, start + tail.getUint32(end + 12, true)).arrayBuffer());
    const found = [];
    for (let here = 0; here + 46 <= table.byteLength && table.getUint32(here, true) === 0x02014b50;) {
      const [flags, method] = [8, 10].map((offset) => table.getUint16(here + offset, true));
      const size = table.getUint32(here + 20, true);
      const [named, extra, comment] = [28, 30, 32].map((offset) => table.getUint16(here + offset, true));
      const local = table.getUint32(here + 42, true);
      const inner = new TextDecoder().decode(new Uint8Array(table.buffer, here + 46, named));
      if (flags & 1) throw new Error('The ZIP file wants a password: unpack it and drop the folder.');
      const open = async () => {
        const head = new DataView(await blob.slice(local, local + 30).arrayBuffer());
        const first = local + 30 + head.getUint16(26, true) + head.getUint16(28, true);
        const data = blob.slice(first, first + size);
        if (method !== 0 && !window.DecompressionStream) {
          throw new Error('This browser opens no ZIP files: unpack it and drop the folder.');
        }
        return method === 0 ? data
          : new Response(data.stream().pipeThrough(new DecompressionStream('deflate-raw'))).blob();
      };
      if (!inner.endsWith('/') && !inner.startsWith('__MACOSX/')) found.push({name: `${name}/${inner}`, open});
      here += 46 + named + extra + comment;
    }
    return found;
  };

  // What was dropped or chosen at once; a DICOMDIR says that it is a medium.
  const isDirectory = ({name}) => /(^|\/)DICOMDIR$/i.test(name);
  const take = (files) => {
    const medium = files.some(isDirectory);
    const objects = files.filter((one) => !isDirectory(one));
    passed += files.length - objects.length;
    all += objects.length;
    waiting.push(...objects.map((one) => ({...one, medium})));
    go();
  };
  const takeAll = async (files) => {
    const plain = [];
    for (const {name, file} of files) {
      if (/\.DS_Store$|Thumbs\.db$/.test(name)) continue;
      if ((await file.slice(0, 4).text()) === 'PK\u0003\u0004') {
        try { take(await unzip(name, file)); } catch (fault) { all += 1; tell(name, fault.message); }
      } else plain.push({name, open: async () => file});
    }
    take(plain);
  };
  const filesOf = async (entry, path) => {
    const name = path + entry.name;
    if (entry.isFile) return [{name, file: await new Promise((yes, no) => entry.file(yes, no))}];
    const reader = entry.createReader();
    const found = [];
    for (;;) {
      const some = await new Promise((yes, no) => reader.readEntries(yes, no));
      if (!some.length) return found;
      for (const one of some) found.push(...await filesOf(one, `${name}/`));
    }
  };
  const inTurn = (files) => {
    over = over.then(files).then(takeAll).catch(() => { all += 1; tell('what was dropped', 'It cannot be read.'); });
  };
  ['dragover', 'dragenter'].forEach((kind) => drop.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.add('over');
  }));
  drop.addEventListener('dragleave', () => drop.classList.remove('over'));
  drop.addEventListener('drop', (event) => {
    event.preventDefault();
    drop.classList.remove('over');
    const entries = [...event.dataTransfer.items].map((one) => one.webkitGetAsEntry()).filter(Boolean);
    inTurn(async () => (await Promise.all(entries.map((one) => filesOf(one, '')))).flat());
  });
  ['files', 'folder'].forEach((id) => at(id).addEventListener('change', (event) => {
    const files = [...event.target.files].map((file) => ({name: file.webkitRelativePath || file.name, file}));
    event.target.value = '';
    inTurn(async () => files);
  }));
  say();
});
