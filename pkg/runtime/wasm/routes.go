package wasm

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/enclaveos/eos/pkg/runtime/ingress"
	"github.com/enclaveos/eos/pkg/runtime/module"
)

// maxRequest bounds the body of a call.
const maxRequest = 16 << 20

// Routes implements module.Router.
func (m *Module) Routes(mux *http.ServeMux) {
	m.mux = mux
	mux.HandleFunc("POST /rpc/{app}/{function}", m.serveCall)
	mux.HandleFunc("GET /rpc/{app}/schema", m.serveSchema)
	mux.HandleFunc("GET /api/v1/mcp/tools", m.serveTools)
	mux.HandleFunc("POST /api/v1/mcp/tools/{function}", m.serveTool)
	mux.HandleFunc("/app/{app}", m.serveCommand)
	mux.HandleFunc("/app/{app}/{path...}", m.serveCommand)
	m.hostRoutes()
}

// answer writes JSON.
func (m *Module) answer(w http.ResponseWriter, status int, v any) {
	r, err := reply0(v)
	if err != nil {
		m.log.Error("an answer could not be made", "error", err)
		r, status = &module.Response{Body: []byte(`{"status":"error","message":"internal error","error":"internal error"}` + "\n")}, http.StatusInternalServerError
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(r.Body)))
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(r.Body) // a client that has gone is nobody's fault
}

func (m *Module) answerError(w http.ResponseWriter, err error) {
	f := m.errFault(err)
	if f.Kind == FaultToken {
		w.Header().Set("WWW-Authenticate", `Bearer realm="eos"`)
	}
	m.answer(w, f.Kind.status(), errorAnswer(f.Text))
}

// body reads a request's body.
func (m *Module) body(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	b, err := ingress.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err == nil {
		return b, true
	}
	var big *http.MaxBytesError
	switch {
	case errors.As(err, &big):
		m.answer(w, http.StatusRequestEntityTooLarge, errorAnswer("the body has more than "+strconv.Itoa(maxRequest)+" bytes"))
	case errors.Is(err, ingress.ErrCrowded):
		m.answer(w, http.StatusServiceUnavailable, errorAnswer(err.Error()))
	default:
		m.answer(w, http.StatusBadRequest, errorAnswer("the body is not complete"))
	}
	return nil, false
}

func (m *Module) serveCall(w http.ResponseWriter, r *http.Request) {
	m.call(w, r, r.PathValue("app"), r.PathValue("function"))
}

func (m *Module) call(w http.ResponseWriter, r *http.Request, app, function string) {
	b, ok := m.body(w, r)
	if !ok {
		return
	}
	res, err := m.callNamed(r.Context(), module.CallerOf(r.Context()), app, function, b)
	if err != nil {
		m.answerError(w, err)
		return
	}
	w.Header().Set("Eos-Fuel", strconv.FormatUint(res.Fuel, 10))
	m.answer(w, http.StatusOK, res.Value)
}

func (m *Module) serveSchema(w http.ResponseWriter, r *http.Request) {
	a, err := m.visible(module.CallerOf(r.Context()), r.PathValue("app"))
	if err != nil {
		m.answerError(w, err)
		return
	}
	m.answer(w, http.StatusOK, a.schema())
}

// hostKey is of the host of a request that serveHost has passed on.
type hostKey struct{}

// hostApp is the app that the first label of the request's host names.
func hostApp(r *http.Request) string {
	host, ok := r.Context().Value(hostKey{}).(string)
	if !ok {
		host = r.Host
	}
	label, _, _ := strings.Cut(host, ".")
	return label
}

func (m *Module) serveTools(w http.ResponseWriter, r *http.Request) {
	a, err := m.visible(module.CallerOf(r.Context()), hostApp(r))
	if err != nil {
		m.answerError(w, err)
		return
	}
	type tool struct {
		Name        string     `json:"name"`
		Description string     `json:"description"`
		Input       jsonSchema `json:"input_schema"`
	}
	tools := []tool{}
	for _, s := range a.Functions() {
		tools = append(tools, tool{s.Name, s.String(), inputSchema(s)})
	}
	m.answer(w, http.StatusOK, map[string]any{"tools": tools})
}

func (m *Module) serveTool(w http.ResponseWriter, r *http.Request) {
	m.call(w, r, hostApp(r), r.PathValue("function"))
}

func (m *Module) serveCommand(w http.ResponseWriter, r *http.Request) {
	a, f := m.app(r.PathValue("app"))
	if f != nil {
		m.answerError(w, f)
		return
	}
	prefix := "/app/" + a.Name
	m.command(w, r, a, prefix, strings.TrimPrefix(r.URL.Path, prefix))
}

// serveHost is any path on an app's host name. The runtime's own paths are the same on
// every name.
func (m *Module) serveHost(w http.ResponseWriter, r *http.Request) {
	core := r.Clone(context.WithValue(r.Context(), hostKey{}, r.Host))
	core.Host = ""
	core.URL.Host = ""
	host := strings.ToLower(r.Host)
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		host = host[:i]
	}
	var app *App
	for _, a := range m.sorted() {
		for _, h := range a.Hostnames {
			if h == host && a.command {
				app = a
			}
		}
	}
	if _, pattern := m.mux.Handler(core); pattern != "" {
		m.mux.ServeHTTP(w, core)
		return
	}
	if app == nil {
		m.answer(w, http.StatusNotFound, errorAnswer("there is nothing at this path"))
		return
	}
	m.command(w, r, app, "", r.URL.Path)
}

func (m *Module) command(w http.ResponseWriter, r *http.Request, a *App, prefix, path string) {
	c := module.CallerOf(r.Context())
	if f := m.allow(a, startExport, c); f != nil {
		m.answerError(w, f)
		return
	}
	b, ok := m.body(w, r)
	if !ok {
		return
	}
	res, err := a.Run(r.Context(), m.caller(r.Context(), c), &Request{
		Method: r.Method, Host: r.Host, Prefix: prefix, Path: path, Query: r.URL.RawQuery, Header: r.Header, Body: b,
	})
	if err != nil {
		m.answerError(w, err)
		return
	}
	h := w.Header()
	for name, values := range res.Header {
		h[name] = values
	}
	h.Set("Eos-Fuel", strconv.FormatUint(res.Fuel, 10))
	if res.Status == http.StatusNoContent || res.Status == http.StatusNotModified {
		h.Del("Content-Type") // of the body that such an answer cannot have (RFC 9110, 6.4.1)
		w.WriteHeader(res.Status)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(res.Body)))
	w.WriteHeader(res.Status)
	_, _ = w.Write(res.Body) // a client that has gone is nobody's fault
}
