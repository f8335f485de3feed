package boot

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/enclaveos/eos/pkg/ratls"
	"github.com/enclaveos/eos/pkg/runtime/ingress"
	"github.com/enclaveos/eos/pkg/runtime/module"
	"github.com/enclaveos/eos/pkg/wall/start"
)

// maxData bounds the body of POST /data, maxAdmin those of the operator.
const (
	maxData  = 16 << 20
	maxAdmin = 256 << 10
)

// route is one of the core's. Modules have theirs in the same multiplexer.
type route struct {
	method, path string
	role         module.Role // the least that may ask
	handle       http.HandlerFunc
}

// routes is the table; a test asks each as each role.
func (r *Runtime) routes() []route {
	return []route{
		{"GET", "/healthz", module.Anyone, r.healthz},
		{"GET", "/readyz", module.Monitor, r.readyz},
		{"GET", "/status", module.Monitor, r.status},
		{"GET", "/metrics", module.Monitor, r.metrics},
		{"POST", "/data", module.Anyone, r.data},
		{"PUT", "/attestation-servers", module.Manager, r.putServers},
		{"PUT", "/ca", module.Manager, r.putCA},
		{"POST", "/shutdown", module.Manager, r.shutdown},
		{"GET", "/.well-known/eos/config", module.Anyone, r.configManifest},
		{"GET", "/.well-known/eos/config/{name}", module.Anyone, r.configProof},
		{"GET", "/.well-known/eos/collateral", module.Anyone, r.getCollateral},
	}
}

// newHandler makes the handler of all requests.
func (r *Runtime) newHandler() http.Handler {
	mux := http.NewServeMux()
	for _, t := range r.routes() {
		mux.HandleFunc(t.method+" "+t.path, r.need(t.role, t.handle))
	}
	for _, m := range r.modules {
		if m, ok := m.(module.Router); ok {
			m.Routes(mux)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.requests.Add(1)
		defer r.caught(w, req)
		req = req.WithContext(module.WithCaller(req.Context(), r.callerOf(req)))
		// The multiplexer would redirect other spellings of a path: there is one of each.
		clean := path.Clean(req.URL.Path)
		if clean != req.URL.Path && clean+"/" != req.URL.Path {
			fail(w, http.StatusNotFound, "there is nothing at this path")
			return
		}
		if _, pattern := mux.Handler(req); pattern == "" {
			unknown(w, req, mux)
			return
		}
		mux.ServeHTTP(w, req)
	})
}

// unknown says in our form what the multiplexer says in its own: 404, or 405 and the
// methods that there are.
func unknown(w http.ResponseWriter, req *http.Request, mux *http.ServeMux) {
	said := &discard{header: http.Header{}}
	mux.ServeHTTP(said, req)
	if allow := said.header.Get("Allow"); said.status == http.StatusMethodNotAllowed && allow != "" {
		w.Header().Set("Allow", allow)
		fail(w, said.status, req.Method+" is not for this path: "+allow)
		return
	}
	fail(w, http.StatusNotFound, "there is nothing at this path")
}

// discard keeps of an answer what it says at its head.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }

func (r *Runtime) healthz(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]string{"status": "ok"})
}

func (r *Runtime) readyz(w http.ResponseWriter, _ *http.Request) {
	status, word := http.StatusOK, "ready"
	if !r.ready.Load() {
		status, word = http.StatusServiceUnavailable, "not_ready"
	}
	answer(w, status, struct {
		Status  string `json:"status"`
		Modules int    `json:"modules"`
	}{word, len(r.modules)})
}

func (r *Runtime) status(w http.ResponseWriter, _ *http.Request) {
	type entry struct {
		Name    string `json:"name"`
		Details any    `json:"details"`
	}
	all := []entry{{"core", struct {
		Status     string `json:"status"`
		Version    string `json:"version"`
		ConfigRoot string `json:"config_root"`
		CANotAfter string `json:"ca_not_after"`
		Uptime     int64  `json:"uptime_seconds"`
	}{"ok", version(), r.tree.Load().Root().String(), r.caNotAfter(), r.uptime()}}}
	for _, m := range r.modules {
		var details any = map[string]string{"status": "ok"}
		if m, ok := m.(module.Reporter); ok {
			details = m.Status()
		}
		all = append(all, entry{m.Name(), details})
	}
	answer(w, http.StatusOK, all)
}

func (r *Runtime) caNotAfter() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ca.Certificate().NotAfter.UTC().Format(time.RFC3339)
}

func (r *Runtime) uptime() int64 { return int64(time.Since(r.started) / time.Second) }

// data asks the modules in their order. A body that none of them knows comes back as
// it is.
func (r *Runtime) data(w http.ResponseWriter, req *http.Request) {
	body, err := ingress.ReadAll(http.MaxBytesReader(w, req.Body, maxData))
	if err != nil {
		r.failWith(w, req, bodyError(err))
		return
	}
	ask := &module.Request{Body: body, Header: req.Header, Caller: module.CallerOf(req.Context())}
	for _, m := range r.modules {
		a, err := m.Handle(req.Context(), ask)
		switch {
		case errors.Is(err, module.ErrNotMine):
			continue
		case err != nil:
			r.failWith(w, req, err)
		default:
			contentType := a.ContentType
			if contentType == "" {
				contentType = "application/json"
			}
			answerBytes(w, cmp.Or(a.Status, http.StatusOK), contentType, a.Body)
		}
		return
	}
	answerBytes(w, http.StatusOK, "application/octet-stream", body)
}

func (r *Runtime) putServers(w http.ResponseWriter, req *http.Request) {
	var ask struct {
		Servers []server `json:"servers"`
	}
	err := readJSON(w, req, maxAdmin, &ask)
	if err == nil && ask.Servers == nil {
		err = &module.Error{Message: `the body has no "servers": [] is none of them`}
	}
	if err == nil {
		if bad := checkServers(ask.Servers); bad != nil {
			err = &module.Error{Message: bad.Error()}
		}
	}
	if err == nil {
		err = r.setServers(req.Context(), ask.Servers)
	}
	if err != nil {
		r.failWith(w, req, err)
		return
	}
	hash := sha256.Sum256(serversText(ask.Servers))
	answer(w, http.StatusOK, struct {
		Count int    `json:"server_count"`
		Hash  string `json:"hash"`
	}{len(ask.Servers), hex.EncodeToString(hash[:])})
}

// putCA takes a new intermediary CA: rotation.
func (r *Runtime) putCA(w http.ResponseWriter, req *http.Request) {
	var ask start.CA
	err := readJSON(w, req, maxAdmin, &ask)
	var ca *ratls.CA
	if err == nil {
		var bad error
		if ca, bad = ratls.ParseCA([]byte(ask.Chain), []byte(ask.Key)); bad == nil {
			bad = checkDates(ca, time.Now())
		}
		if bad != nil {
			err = &module.Error{Message: bad.Error()}
		}
	}
	if err == nil {
		err = r.setCA(req.Context(), ca)
	}
	if err != nil {
		r.failWith(w, req, err)
		return
	}
	hash := ca.Hash()
	r.log.Info("the operator has replaced the CA", "sha256", hex.EncodeToString(hash[:]))
	answer(w, http.StatusOK, map[string]string{"ca_cert_sha256": hex.EncodeToString(hash[:])})
}

// getCollateral passes on what the host has of the collateral of our quotes. Whoever
// takes it checks its signatures.
func (r *Runtime) getCollateral(w http.ResponseWriter, req *http.Request) {
	b, err := r.collateral(req.Context())
	if err != nil {
		r.log.Warn("no collateral", "error", err)
		fail(w, http.StatusServiceUnavailable, "the host has no collateral")
		return
	}
	answerBytes(w, http.StatusOK, "application/json", b)
}

func (r *Runtime) shutdown(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]string{"status": "shutting_down"})
	r.log.Info("the operator ends the enclave")
	r.stop()
}

func (r *Runtime) configManifest(w http.ResponseWriter, req *http.Request) {
	b, err := r.tree.Load().Manifest().AppendJSON(nil)
	if err != nil {
		r.failWith(w, req, err)
		return
	}
	answerBytes(w, http.StatusOK, "application/json", append(b, '\n'))
}

func (r *Runtime) configProof(w http.ResponseWriter, req *http.Request) {
	p, ok := r.tree.Load().Prove(req.PathValue("name"))
	if !ok {
		fail(w, http.StatusNotFound, "the configuration has no leaf of that name")
		return
	}
	b, err := p.AppendJSON(nil)
	if err != nil {
		r.failWith(w, req, err)
		return
	}
	answerBytes(w, http.StatusOK, "application/json", append(b, '\n'))
}

// checkNames refuses modules that could be taken for one another.
func checkNames(modules []module.Module) error {
	var names []string
	for _, m := range modules {
		name := m.Name()
		if name == "" || name == "core" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || slices.Contains(names, name) {
			return &nameError{name}
		}
		names = append(names, name)
	}
	return nil
}

type nameError struct{ name string }

func (e *nameError) Error() string {
	return "module " + e.name + ": a name is lower-case letters, digits and hyphens, and no other module's"
}
