// What OHIF is told of Darkroom: this origin is its only source of data (docs/viewer.md).
(() => {
  const root = `${location.origin}/dicom-web`;
  const csrf = () => (document.cookie.match(/(?:^|; )(?:__Host-)?darkroom_csrf="?([^;"]*)/) || [])[1];
  // What it stores by STOW-RS goes by our cookie, which needs the token beside it.
  const open = XMLHttpRequest.prototype.open;
  XMLHttpRequest.prototype.open = function (method, url, ...more) {
    open.call(this, method, url, ...more);
    const own = new URL(url, location.href).origin === location.origin;
    if (own && !/^(GET|HEAD)$/i.test(method) && csrf()) this.setRequestHeader('X-CSRFToken', csrf());
  };
  // In the place of OHIF's logo: the ways back into the console, to the film of the study that is shown.
  const ways = (React) => {
    const [study] = (new URLSearchParams(location.search).get('StudyInstanceUIDs') || '').split(',');
    const at = encodeURIComponent(study);
    const links = study ? [['Study', `/study/${at}`], ['Print', `/film?study=${at}`]] : [['Worklist', '/worklist']];
    return React.createElement('nav', {'aria-label': 'Darkroom', onClick: (event) => event.stopPropagation()},
      [...links.map(([text, href]) => React.createElement('a', {
        key: text, href, className: 'text-primary mx-2 text-base underline'}, text)),
      ...(study ? [window.darkroomStates.choice(React)] : [])]);
  };
  window.PUBLIC_URL = '/viewer/';
  window.browserImportFunction = (name) => import(name);
  window.config = {
    routerBasename: '/viewer', extensions: [window.darkroomStates.extension], modes: [], customizationService: [{'ohif.tours': {$set: []}}],
    showStudyList: true, maxNumberOfWebWorkers: 3, showLoadingIndicator: true,
    showCPUFallbackMessage: false, strictZSpacingForVolumeViewport: true,
    whiteLabeling: {createLogoComponentFn: ways},
    investigationalUseDialog: {option: 'never'},
    maxNumRequests: {interaction: 100, thumbnail: 20, prefetch: 25},
    studyPrefetcher: {enabled: true, displaySetsCount: 2, maxNumPrefetchRequests: 10, order: 'closest'},
    defaultDataSourceName: 'darkroom',
    dataSources: [{
      namespace: '@ohif/extension-default.dataSourcesModule.dicomweb', sourceName: 'darkroom',
      configuration: {
        friendlyName: 'Darkroom', name: 'darkroom', wadoUriRoot: root, qidoRoot: root, wadoRoot: root,
        qidoSupportsIncludeField: true, imageRendering: 'wadors', thumbnailRendering: 'wadors',
        enableStudyLazyLoad: true, supportsFuzzyMatching: true, supportsWildcard: true,
        omitQuotationForMultipartRequest: true, bulkDataURI: {enabled: true},
      },
    }],
  };
})();
