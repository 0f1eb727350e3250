// What pages do by themselves. There is no state here: the server has it.
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const csrf = () => (document.cookie.match(/(?:^|; )(?:__Host-)?darkroom_csrf="?([^;"]*)/) || [])[1];

  // Sentences at the edge of the page.
  const say = (text, bad = false) => {
    const one = document.createElement('div');
    one.className = bad ? 'toast bad' : 'toast';
    if (bad) one.setAttribute('role', 'alert');
    one.textContent = text;
    const close = document.createElement('button');
    close.textContent = 'Close';
    close.className = 'quiet';
    close.addEventListener('click', () => one.remove());
    one.append(close);
    document.getElementById('said').append(one);
    setTimeout(() => one.remove(), bad ? 20000 : 7000);
  };

  // What takes longer than 300 ms shows at the top that it is worked on; what is asked for unasked does not.
  const running = new Set();
  let patience = 0;
  const working = (one, over = false) => {
    const bar = document.getElementById('working');
    running[over ? 'delete' : 'add'](one);
    if (!running.size) {
      clearTimeout(patience);
      patience = 0;
      bar.hidden = true;
    } else if (!patience) patience = setTimeout(() => { bar.hidden = false; }, 300);
  };
  document.addEventListener('htmx:beforeSend', (event) => {
    if (!event.target.matches('.counted, [data-live]')) working(event.detail.xhr);
  });
  document.addEventListener('htmx:afterRequest', (event) => working(event.detail.xhr, true));
  window.darkroom = {say, csrf, working};
  document.addEventListener('said', (event) => say(event.detail.text));
  document.addEventListener('htmx:configRequest', (event) => {
    if (event.detail.verb !== 'get' && csrf()) event.detail.headers['X-CSRFToken'] = csrf();
  });
  document.addEventListener('htmx:responseError', (event) => {
    let text = 'This did not work.';
    try {
      const problem = JSON.parse(event.detail.xhr.responseText);
      const wrong = (problem.errors || []).map((one) => one.message).join(' ');
      text = problem.detail + (wrong ? ` ${wrong}` : '');
    } catch (fault) { /* no body of ours: the sentence above is all there is */ }
    say(text, true);
  });
  document.addEventListener('htmx:sendError', () => say('Darkroom does not answer.', true));

  // Times in the zone of whoever looks, dates as ISO 8601 has them.
  const two = (number) => String(number).padStart(2, '0');
  const localise = (root) => all('time[datetime]', root).forEach((one) => {
    const at = new Date(one.dateTime);
    if (isNaN(at)) return;
    one.textContent = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} `
      + `${two(at.getHours())}:${two(at.getMinutes())}`;
    one.title = at.toString();
  });

  // Dialogs; browsers without them (Firefox before 98, Safari before 15.4) get what is needed of them.
  const show = (dialog) => {
    if (dialog.showModal) { dialog.showModal(); return; }
    dialog.classList.add('plain');
    dialog.setAttribute('open', '');
    dialog.querySelector('input:not([type=hidden]), select, button').focus();
  };
  const hide = (dialog) => {
    if (dialog.close) dialog.close(); else dialog.removeAttribute('open');
    catchUp();
  };
  document.addEventListener('keydown', (event) => {
    const plain = event.key === 'Escape' && document.querySelector('dialog.plain[open]');
    if (plain) hide(plain);
  });
  let confirmed = null;
  document.addEventListener('click', (event) => {
    const opener = event.target.closest('[data-opens]');
    if (opener) show(document.getElementById(opener.dataset.opens));
    const decision = event.target.closest('#sure button');
    if (decision) {
      event.preventDefault();
      hide(document.getElementById('sure'));
      if (decision.value === 'yes') confirmed();
    }
    const leads = event.target.closest('[data-goes]');
    if (leads) location.assign(leads.dataset.goes + encodeURIComponent([...kept][0]));
    const closer = event.target.closest('[data-close]');
    if (closer) hide(closer.closest('dialog'));
    if (event.target.closest('[data-theme-switch]')) {
      const dark = getComputedStyle(document.documentElement).colorScheme === 'dark';
      const theme = dark ? 'light' : 'dark';
      document.documentElement.dataset.theme = theme;
      document.cookie = `darkroom_theme=${theme}; path=/; max-age=31536000; samesite=strict`;
    }
  });
  document.addEventListener('htmx:afterRequest', (event) => {
    const form = event.target;
    if (!event.detail.successful || !form.matches) return;
    if (form.matches('[data-closes]') && form.closest('dialog')) hide(form.closest('dialog'));
    if (form.matches('[data-resets]')) form.reset();
  });
  document.addEventListener('htmx:confirm', (event) => {
    if (!event.detail.question) return;
    event.preventDefault();
    document.getElementById('sure-text').textContent = event.detail.question;
    confirmed = () => event.detail.issueRequest(true);
    show(document.getElementById('sure'));
  });

  // Selecting, and what is done with what is selected.
  let kept = new Set();
  const selection = () => {
    const boxes = all('[data-select]');
    const chosen = boxes.filter((one) => one.checked);
    kept = new Set(chosen.map((one) => one.value));
    boxes.forEach((one) => {
      const row = one.closest('tr');
      row.classList.toggle('selected', one.checked);
      all('[data-exam]', row).forEach((hidden) => { hidden.disabled = !one.checked; });
    });
    all('[data-selected-count]').forEach((one) => {
      one.textContent = chosen.length ? `${chosen.length} selected` : 'Nothing selected';
    });
    all('[data-needs-selection]').forEach((one) => { one.disabled = !chosen.length; });
    all('[data-needs-one]').forEach((one) => { one.disabled = chosen.length !== 1; });
    all('[data-select-all]').forEach((one) => {
      one.checked = boxes.length > 0 && chosen.length === boxes.length;
    });
  };
  document.addEventListener('change', (event) => {
    if (event.target.matches('[data-select-all]')) {
      all('[data-select]').forEach((one) => { one.checked = event.target.checked; });
    }
    if (event.target.matches('[data-select], [data-select-all]')) selection();
  });
  document.addEventListener('click', (event) => {
    const row = event.target.closest('tr[data-href]');
    if (row && !event.target.closest('a, button, input, label, select')) location.assign(row.dataset.href);
  });

  // The keyboard.
  let current = '';
  document.addEventListener('keydown', (event) => {
    const typing = event.target.matches('input:not([type=checkbox]), textarea, select');
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
    const find = document.querySelector('[data-focus="/"]');
    if (event.key === '/' && !typing && find) { event.preventDefault(); find.focus(); find.select(); return; }
    const rows = all('tr[data-href]');
    if (!rows.length || (typing && event.target !== find)) return;
    const now = rows.findIndex((one) => one.classList.contains('current'));
    const step = {ArrowDown: 1, ArrowUp: -1}[event.key];
    if (step) {
      event.preventDefault();
      const next = rows[Math.max(0, Math.min(rows.length - 1, now + step))];
      rows.forEach((one) => one.classList.toggle('current', one === next));
      current = next.dataset.href;
      next.querySelector('a').focus();
      next.scrollIntoView({block: 'nearest'});
    } else if (event.key === 'x' && !typing && now >= 0) {
      const box = rows[now].querySelector('[data-select]');
      if (box) { box.checked = !box.checked; selection(); }
    }
  });

  // Live parts, by the event stream; it is let go while nobody looks.
  // What happens between the making of a page and its listening is not missed: the stream begins at
  // the event that the page knows of; when it is opened again, all is asked for anew.
  let stream = null;
  let told = document.documentElement.dataset.told;
  const waiting = new Map();
  const late = new Set(); // parts that wait for a dialog to be closed
  const touch = (part) => {
    if (waiting.has(part)) return;
    waiting.set(part, setTimeout(() => {
      waiting.delete(part);
      if (!part.isConnected) return;
      if (document.querySelector('dialog[open]')) late.add(part);
      else htmx.trigger(part, 'live');
    }, 800));
  };
  const catchUp = () => {
    late.forEach(touch);
    late.clear();
  };
  document.addEventListener('close', catchUp, true);
  const listen = () => {
    const parts = all('[data-live]');
    if (document.hidden || !parts.length) {
      if (stream) stream.close();
      stream = null;
      return;
    }
    if (stream) return;
    stream = new EventSource('/api/v1/events' + (told ? `?after=${told}` : ''));
    const types = new Set(parts.flatMap((one) => one.dataset.live.split(' ')));
    types.forEach((type) => stream.addEventListener(type, () => {
      all('[data-live]').filter((one) => one.dataset.live.split(' ').includes(type)).forEach(touch);
    }));
    stream.addEventListener('gap', () => all('[data-live]').forEach(touch));
    const again = !told;
    told = '';
    stream.addEventListener('open', () => {
      document.documentElement.dataset.listening = 'yes';
      if (again) all('[data-live]').forEach(touch);
    });
    // A refusal (too many listen, a session that is over) is for good to the browser: ask again, also for what is shown.
    stream.addEventListener('error', (event) => {
      if (event.target.readyState !== EventSource.CLOSED || event.target !== stream) return;
      stream = null;
      setTimeout(() => {
        all('[data-live]').forEach(touch);
        listen();
      }, 5000);
    });
  };
  document.addEventListener('visibilitychange', listen);

  const ready = (root) => {
    localise(root);
    all('[data-select]', root).forEach((one) => { if (kept.has(one.value)) one.checked = true; });
    selection();
    // What was asked for again stands where it stood, and the row of the keyboard with it.
    const again = all('tr[data-href]', root).find((one) => one.dataset.href === current);
    if (!again) return;
    again.classList.add('current');
    if (document.activeElement === document.body) again.querySelector('a').focus({preventScroll: true});
  };
  document.addEventListener('DOMContentLoaded', () => {
    ready(document);
    listen();
    document.addEventListener('error', (event) => {
      if (event.target.matches && event.target.matches('img.thumb')) event.target.classList.add('lost');
    }, true);
  });
  document.addEventListener('htmx:afterSwap', (event) => ready(event.detail.target));

  // What somebody typed before htmx listened is searched for as well.
  window.addEventListener('load', () => all('form[role="search"] input[autofocus]').forEach((one) => {
    if (one.value !== one.defaultValue) htmx.trigger(one.form, 'submit');
  }));
})();
