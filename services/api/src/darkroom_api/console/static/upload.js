// Stores dropped files by STOW-RS, one object a request; ZIP files are opened here.
addEventListener('DOMContentLoaded', () => {
  const drop = document.getElementById('drop');
  const bar = document.getElementById('bar');
  const sum = document.getElementById('sum');
  const refused = document.getElementById('refused');
  const AT_ONCE = 3;
  const waiting = [];
  let running = 0;
  let done = 0;
  let failed = 0;
  let all = 0;
  const say = () => {
    bar.hidden = !all;
    bar.max = all || 1;
    bar.value = done + failed;
    sum.textContent = `${done} of ${all} stored${failed ? `, ${failed} not` : ''}.`;
  };
  const tell = (name, text) => {
    failed += 1;
    refused.hidden = false;
    const row = refused.querySelector('tbody').insertRow();
    row.insertCell().textContent = name;
    row.insertCell().textContent = text;
  };
  const isDicom = async (blob) => (await blob.slice(128, 132).text()) === 'DICM';
  const store = async ({name, blob}) => {
    if (!(await isDicom(blob))) {
      if (/(^|\/)DICOMDIR$/.test(name)) { done += 1; return; }
      tell(name, 'It is no DICOM file.');
      return;
    }
    const edge = `darkroom-${Math.random().toString(36).slice(2)}${Math.random().toString(36).slice(2)}`;
    const body = new Blob([`--${edge}\r\nContent-Type: application/dicom\r\n\r\n`, blob, `\r\n--${edge}--\r\n`]);
    const answer = await fetch('/dicom-web/studies', {method: 'POST', body, headers: {
      'Content-Type': `multipart/related; type="application/dicom"; boundary=${edge}`,
      'Accept': 'application/dicom+json', 'X-CSRFToken': window.darkroom.csrf() || ''}});
    if (answer.ok) { done += 1; return; }
    let text = `It was refused (${answer.status}).`;
    try { text = (await answer.json()).detail || text; } catch (fault) { /* the status is all there is */ }
    tell(name, text);
  };
  const go = () => {
    say();
    while (running < AT_ONCE && waiting.length) {
      const one = waiting.shift();
      running += 1;
      store(one).catch(() => tell(one.name, 'Darkroom does not answer.')).finally(() => { running -= 1; go(); });
    }
  };
  const unzip = async (name, blob) => {
    const tail = new DataView(await blob.slice(Math.max(0, blob.size - 65557)).arrayBuffer());
    let end = tail.byteLength - 22;
    while (end >= 0 && tail.getUint32(end, true) !== 0x06054b50) end -= 1;
    if (end < 0) throw new Error('The ZIP file is cut off.');
    const start = tail.getUint32(end + 16, true);
    const table = new DataView(await blob.slice(start, start + tail.getUint32(end + 12, true)).arrayBuffer());
    for (let at = 0; at + 46 <= table.byteLength && table.getUint32(at, true) === 0x02014b50;) {
      const method = table.getUint16(at + 10, true);
      const size = table.getUint32(at + 20, true);
      const [named, extra, comment] = [28, 30, 32].map((offset) => table.getUint16(at + offset, true));
      const local = table.getUint32(at + 42, true);
      const inner = new TextDecoder().decode(new Uint8Array(table.buffer, at + 46, named));
      const head = new DataView(await blob.slice(local, local + 30).arrayBuffer());
      const first = local + 30 + head.getUint16(26, true) + head.getUint16(28, true);
      const data = blob.slice(first, first + size);
      if (!inner.endsWith('/')) {
        const file = method === 0 ? data
          : await new Response(data.stream().pipeThrough(new DecompressionStream('deflate-raw'))).blob();
        add(`${name}/${inner}`, file);
      }
      at += 46 + named + extra + comment;
    }
  };
  const add = (name, blob) => { all += 1; waiting.push({name, blob}); go(); };
  const take = async (name, file) => {
    if ((await file.slice(0, 4).text()) === 'PK\u0003\u0004') {
      try { await unzip(name, file); } catch (fault) { all += 1; tell(name, fault.message); say(); }
    } else add(name, file);
  };
  const walk = async (entry, path) => {
    if (entry.isFile) {
      await take(path + entry.name, await new Promise((yes, no) => entry.file(yes, no)));
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const found = await new Promise((yes, no) => reader.readEntries(yes, no));
      if (!found.length) return;
      for (const one of found) await walk(one, `${path}${entry.name}/`);
    }
  };
  ['dragover', 'dragenter'].forEach((kind) => drop.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.add('over');
  }));
  drop.addEventListener('dragleave', () => drop.classList.remove('over'));
  drop.addEventListener('drop', (event) => {
    event.preventDefault();
    drop.classList.remove('over');
    [...event.dataTransfer.items].map((one) => one.webkitGetAsEntry()).filter(Boolean)
      .forEach((one) => walk(one, '').catch(() => { all += 1; tell(one.name, 'It cannot be read.'); say(); }));
  });
  ['files', 'folder'].forEach((id) => document.getElementById(id).addEventListener('change', (event) => {
    [...event.target.files].forEach((one) => take(one.webkitRelativePath || one.name, one));
    event.target.value = '';
  }));
});
