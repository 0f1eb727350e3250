// Signs in by REST, which knows the device by a cookie of its own path; asks for a code when needed.
addEventListener('DOMContentLoaded', () => {
  const form = document.getElementById('sign-in');
  const refusal = document.getElementById('refusal');
  const second = document.getElementById('second');
  const button = form.querySelector('button');
  const wanted = new URLSearchParams(location.search).get('next') || '';
  const following = /^\/(?![\/\\])/.test(wanted) ? wanted : '/worklist';
  // A link that `darkroom up` or `darkroom sign-in-link` has written: good once, and never sent as an address.
  const once = (location.hash.match(/^#once=([\w-]+)$/) || [])[1];
  if (once) {
    history.replaceState(null, '', location.pathname + location.search);
    fetch('/api/v1/auth/refresh', {method: 'POST', body: JSON.stringify({refresh_token: once}),
      headers: {'Content-Type': 'application/json', 'X-Requested-With': 'darkroom-console'}, credentials: 'same-origin'})
      .then((answer) => {
        if (answer.ok) location.assign(wanted ? following : '/start');
        else say('This link was used, or its quarter of an hour is over. Sign in with your password.');
      })
      .catch(() => say('Darkroom does not answer. Is the network there?'));
  }
  const say = (text) => { refusal.textContent = text; refusal.hidden = !text; };
  const wait = (seconds) => {
    button.disabled = seconds > 0;
    if (seconds <= 0) { say(''); return; }
    say(`Too many attempts. Try again in ${seconds} second${seconds === 1 ? '' : 's'}.`);
    setTimeout(() => wait(seconds - 1), 1000);
  };
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const given = {browser: true};
    for (const name of ['username', 'password', 'code']) {
      if (form.elements[name].value) given[name] = form.elements[name].value;
    }
    if (!given.username || !given.password) { say('Give your user name and your password.'); return; }
    button.disabled = true;
    say('');
    try {
      const answer = await fetch('/api/v1/auth/login', {method: 'POST', body: JSON.stringify(given),
        headers: {'Content-Type': 'application/json', 'X-Requested-With': 'darkroom-console'}, credentials: 'same-origin'});
      if (answer.ok) { location.assign(following); return; }
      const problem = await answer.json();
      button.disabled = false;
      if (problem.code === 1006) {
        if (!second.hidden) say('This is not the code of now.');
        second.hidden = false;
        form.elements.code.value = '';
        form.elements.code.focus();
      } else if (answer.status === 429) {
        wait(Number(answer.headers.get('Retry-After')) || 60);
      } else {
        say(problem.code === 1001 ? 'User name, password or code is not right.' : problem.detail);
        form.elements.password.select();
      }
    } catch (fault) {
      button.disabled = false;
      say('Darkroom does not answer. Is the network there?');
    }
  });
});
