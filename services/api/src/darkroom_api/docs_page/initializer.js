"use strict";
// Starts swagger-ui. Whoever tries POST /auth/login here is signed in for the other routes, too;
// the token is kept by this page alone and is gone with it.
const ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  docExpansion: "list",
  deepLinking: true,
  validatorUrl: null,
  responseInterceptor: (answer) => {
    if (answer.ok && /\/auth\/(login|refresh)$/.test(new URL(answer.url).pathname)) {
      ui.preauthorizeApiKey("access token", answer.obj.access_token);
    }
    return answer;
  },
});
