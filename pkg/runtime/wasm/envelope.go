package wasm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/enclaveos/eos/pkg/ijson"
	"github.com/enclaveos/eos/pkg/manifest"
	"github.com/enclaveos/eos/pkg/runtime/module"
	"github.com/enclaveos/eos/pkg/runtime/wasm/abi"
)

// The keys of a POST /data that are this module's. The body is an object with just one
// of them.
var envelopes = map[string]struct {
	role   module.Role
	handle func(m *Module, ctx context.Context, c module.Caller, body json.RawMessage) (any, error)
}{
	"wasm_load":    {module.Manager, (*Module).wasmLoad},
	"wasm_unload":  {module.Manager, (*Module).wasmUnload},
	"wasm_list":    {module.Monitor, (*Module).wasmList},
	"wasm_call":    {module.Anyone, (*Module).wasmCall},
	"wasm_schema":  {module.Anyone, (*Module).wasmSchema},
	"connect_call": {module.Anyone, (*Module).connectCall},
	"mcp_tools":    {module.Anyone, (*Module).mcpTools},
}

// firstKey is the first member's name of a JSON object.
func firstKey(body []byte) (string, bool) {
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return "", false
	}
	t, err := d.Token()
	key, ok := t.(string)
	return key, ok && err == nil
}

// Handle implements module.Module. What fails is told by
// {"status":"error","message":...}: with HTTP status 200 where a client of Enclave OS Mini
// calls an app, with one that fits where a manager gives an order. What is no envelope
// is a 400, a missing role a 401 or 403.
func (m *Module) Handle(ctx context.Context, r *module.Request) (*module.Response, error) {
	key, ok := firstKey(r.Body)
	e, known := envelopes[key]
	if !ok || !known {
		return nil, module.ErrNotMine
	}
	if r.Caller.Role < e.role {
		if r.Caller.Known || len(m.roles(r.Caller)) > 0 {
			return nil, &module.Error{Status: http.StatusForbidden, Message: fmt.Sprintf("%s needs the role %s", key, e.role)}
		}
		return nil, &module.Error{Status: http.StatusUnauthorized, Message: fmt.Sprintf("%s needs the operator's token", key)}
	}
	object, err := ijson.Members(r.Body)
	if err != nil {
		return nil, &module.Error{Message: fmt.Sprintf("the body is not the JSON that was expected: %v", err)}
	}
	if len(object) != 1 {
		return nil, &module.Error{Message: fmt.Sprintf("the body is not an object with the one member %q", key)}
	}
	status := http.StatusOK
	answer, err := e.handle(m, ctx, r.Caller, object[key])
	if err != nil {
		f, ok := asFault(err)
		if !ok {
			return nil, err
		}
		if e.role > module.Anyone {
			status = f.Kind.status()
		}
		answer = errorAnswer(f.Text)
	}
	resp, err := reply0(answer)
	if err != nil {
		return nil, err
	}
	resp.Status = status
	return resp, nil
}

// reply0 is the JSON of an answer.
func reply0(v any) (*module.Response, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return &module.Response{Body: b.Bytes()}, nil
}

// errorBody says what is wrong, in the words of both this runtime and its clients.
type errorBody struct {
	Status  string `json:"status"` // "error"
	Message string `json:"message"`
	Error   string `json:"error"` // the same
}

func errorAnswer(text string) errorBody { return errorBody{"error", text, text} }

// decode reads a member's value strictly.
func decode(body json.RawMessage, v any) error {
	if err := ijson.Unmarshal(body, v); err != nil {
		return faultf(FaultArgument, "%v", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// export is a function in answers.
type export struct {
	Name    string `json:"name"`
	Params  int    `json:"param_count"`
	Results int    `json:"result_count"`
}

// appInfo is an app in answers.
type appInfo struct {
	Name       string   `json:"name"`
	Hostname   string   `json:"hostname"`
	Hostnames  []string `json:"hostnames"`
	CodeHash   string   `json:"code_hash"`
	KeySource  string   `json:"key_source"`
	Exports    []export `json:"exports"`
	ConfigHash string   `json:"configuration_hash"`
	MaxFuel    uint64   `json:"max_fuel"`
	Origin     string   `json:"origin"`
	Loaded     bool     `json:"loaded"`
}

func (a *App) info() appInfo {
	config := a.configHash()
	i := appInfo{Name: a.Name, Hostnames: append([]string{}, a.Hostnames...), CodeHash: a.CodeHash(), KeySource: "generated",
		Exports: []export{}, ConfigHash: hex.EncodeToString(config[:]), MaxFuel: a.Limits.Fuel, Origin: a.origin(), Loaded: true}
	if len(a.Hostnames) > 0 {
		i.Hostname = a.Hostnames[0]
	}
	for _, s := range a.Functions() {
		e := export{Name: s.Name, Params: len(s.Params)}
		if s.Result != abi.None {
			e.Results = 1
		}
		i.Exports = append(i.Exports, e)
	}
	return i
}

// loadRequest is wasm_load. The members behind the blank line are ours.
type loadRequest struct {
	Name        string       `json:"name"`
	Bytes       []byte       `json:"bytes"` // of the .wasm, base64
	Hostname    string       `json:"hostname"`
	MaxFuel     uint64       `json:"max_fuel"`
	Permissions *permissions `json:"permissions"`

	Hostnames  []string             `json:"hostnames"`
	Interfaces []manifest.Interface `json:"interfaces"`
	Args       []string             `json:"args"`
	Env        map[string]string    `json:"env"`
	Egress     []string             `json:"egress"`
	Limits     *loadLimits          `json:"limits"`
}

// permissions are version 1 of them, as far as roles of the manifest go.
type permissions struct {
	Default   manifest.Policy `json:"default_policy"`
	Roles     []string        `json:"default_roles"`
	Functions map[string]struct {
		Policy manifest.Policy `json:"policy"`
		Roles  []string        `json:"roles"`
	} `json:"functions"`
}

// loadLimits are manifest.Limits, of which each may be left out.
type loadLimits struct {
	Fuel        *uint64 `json:"fuel"`
	MemoryPages *uint32 `json:"memory_pages"`
	TimeMS      *uint32 `json:"time_ms"`
	OutputBytes *uint32 `json:"output_bytes"`
	Concurrency *uint32 `json:"concurrency"`
	Storage     *uint64 `json:"storage"`
	Pool        *uint32 `json:"pool"`
}

func (r *loadRequest) app() (manifest.App, error) {
	a := manifest.NewApp(r.Name)
	sum := sha256.Sum256(r.Bytes)
	a.Module = manifest.Module{SHA256: sum, Size: uint64(len(r.Bytes)), Encoding: manifest.Raw, StoredSize: uint64(len(r.Bytes))}
	a.Hostnames = append([]string{}, r.Hostnames...)
	if r.Hostname != "" && !slices.Contains(a.Hostnames, r.Hostname) {
		a.Hostnames = append(a.Hostnames, r.Hostname)
	}
	if r.Interfaces != nil {
		a.Interfaces = r.Interfaces
	}
	a.Args = append(a.Args, r.Args...)
	for k, v := range r.Env {
		a.Env = append(a.Env, k+"="+v)
	}
	a.Egress = append(a.Egress, r.Egress...)
	if r.MaxFuel != 0 {
		a.Limits.Fuel = r.MaxFuel
	}
	if l := r.Limits; l != nil {
		set64(&a.Limits.Fuel, l.Fuel)
		set64(&a.Limits.MemoryPages, l.MemoryPages)
		set64(&a.Limits.TimeMS, l.TimeMS)
		set64(&a.Limits.OutputBytes, l.OutputBytes)
		set64(&a.Limits.Concurrency, l.Concurrency)
		set64(&a.Limits.Storage, l.Storage)
		set64(&a.Limits.Pool, l.Pool)
	}
	if p := r.Permissions; p != nil {
		if p.Default != "" {
			a.Permissions.Default = p.Default
		}
		a.Permissions.Roles = append(a.Permissions.Roles, p.Roles...)
		for name, f := range p.Functions {
			a.Permissions.Functions = append(a.Permissions.Functions, manifest.FunctionPolicy{Name: name, Policy: f.Policy, Roles: f.Roles})
		}
	}
	return a, nil
}

func set64[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func (m *Module) wasmLoad(ctx context.Context, _ module.Caller, body json.RawMessage) (any, error) {
	var r loadRequest
	if err := decode(body, &r); err != nil {
		return nil, err
	}
	desc, err := r.app()
	if err != nil {
		return nil, err
	}
	// An app is valid if a manifest with just it, and the image's roles, is.
	check := manifest.Manifest{Format: manifest.Format, Apps: []manifest.App{desc}, Roles: m.manifest.Roles}
	check.Normalize()
	if err := check.Check(); err != nil {
		return nil, faultf(FaultArgument, "%v", err)
	}
	a, err := m.load(ctx, check.Apps[0], r.Bytes)
	if err != nil {
		return nil, err
	}
	return struct {
		Status string  `json:"status"`
		App    appInfo `json:"app"`
	}{"loaded", a.info()}, nil
}

func (m *Module) wasmUnload(ctx context.Context, _ module.Caller, body json.RawMessage) (any, error) {
	var r struct {
		Name string `json:"name"`
	}
	if err := decode(body, &r); err != nil {
		return nil, err
	}
	there, err := m.unload(ctx, r.Name)
	if err != nil {
		return nil, err
	}
	status := "unloaded"
	if !there {
		status = "not_found"
	}
	return struct {
		Status string `json:"status"`
		Name   string `json:"name"`
	}{status, r.Name}, nil
}

func (m *Module) wasmList(_ context.Context, _ module.Caller, body json.RawMessage) (any, error) {
	if err := decode(body, &struct{}{}); err != nil {
		return nil, err
	}
	list := []appInfo{}
	for _, a := range m.sorted() {
		list = append(list, a.info())
	}
	return struct {
		Status string    `json:"status"`
		Apps   []appInfo `json:"apps"`
	}{"apps", list}, nil
}

// typed is a value with its type.
type typed struct {
	Type  abi.Type        `json:"type"`
	Value json.RawMessage `json:"value"`
}

// withAuth adds a token that stands in the body, for clients that cannot set headers.
func (m *Module) withAuth(c module.Caller, token string) module.Caller {
	if token != "" && c.Token == "" {
		c.Token = token
		c.Known = len(m.roles(c)) > 0
	}
	return c
}

func (m *Module) wasmCall(ctx context.Context, c module.Caller, body json.RawMessage) (any, error) {
	var r struct {
		App      string          `json:"app"`
		Function string          `json:"function"`
		Params   []typed         `json:"params"`
		Auth     string          `json:"app_auth"`
		Billing  json.RawMessage `json:"billing_approved"` // nothing costs anything here
	}
	if err := decode(body, &r); err != nil {
		return nil, err
	}
	c = m.withAuth(c, r.Auth)
	a, f := m.app(r.App)
	if f != nil {
		return nil, f
	}
	if f := m.allow(a, r.Function, c); f != nil {
		return nil, f
	}
	fn, ok := a.functions[r.Function]
	if !ok {
		return nil, faultf(FaultUnknown, "app %s has no function %s", a.Name, short(r.Function))
	}
	if len(r.Params) != len(fn.Params) {
		return nil, faultf(FaultArgument, "%d parameters for %s", len(r.Params), fn.Signature)
	}
	params := map[string]json.RawMessage{}
	for i, p := range r.Params {
		want := fn.Params[i]
		if p.Type != want.Type {
			return nil, faultf(FaultArgument, "parameter %s is of type %s, not %s", want.Name, want.Type, short(string(p.Type)))
		}
		params[want.Name] = p.Value
	}
	res, err := a.Call(ctx, m.caller(ctx, c), r.Function, params)
	if err != nil {
		return nil, err
	}
	returns := []typed{}
	if res.Type != abi.None {
		returns = append(returns, typed{res.Type, res.Value})
	}
	return struct {
		Status  string  `json:"status"`
		Returns []typed `json:"returns"`
		Fuel    uint64  `json:"fuel"`
	}{"ok", returns, res.Fuel}, nil
}

// callNamed is a call with an object of named parameters; beside them there may be
// app_auth and billing_approved, unless the function has such a parameter.
func (m *Module) callNamed(ctx context.Context, c module.Caller, app, function string, body []byte) (*Result, error) {
	a, f := m.app(app)
	if f != nil {
		return nil, f
	}
	params := map[string]json.RawMessage{}
	if len(bytes.TrimSpace(body)) > 0 {
		var err error
		if params, err = ijson.Members(body); err != nil {
			// Who may not call learns nothing else.
			if f := m.allow(a, function, c); f != nil {
				return nil, f
			}
			return nil, faultf(FaultArgument, "the body is no JSON object of named parameters: %v", strings.TrimPrefix(err.Error(), "json: "))
		}
	}
	s := a.functions[function].Signature
	if raw, ok := params["app_auth"]; ok && !hasParam(s, "app_auth") {
		var token string
		_ = json.Unmarshal(raw, &token) // no string is no token
		c = m.withAuth(c, token)
		delete(params, "app_auth")
	}
	if !hasParam(s, "billing_approved") {
		delete(params, "billing_approved")
	}
	if f := m.allow(a, function, c); f != nil {
		return nil, f
	}
	return a.Call(ctx, m.caller(ctx, c), function, params)
}

func (m *Module) connectCall(ctx context.Context, c module.Caller, body json.RawMessage) (any, error) {
	var r struct {
		App      string          `json:"app"`
		Function string          `json:"function"`
		Body     json.RawMessage `json:"body"`
		Auth     string          `json:"app_auth"`
		Billing  json.RawMessage `json:"billing_approved"`
	}
	if err := decode(body, &r); err != nil {
		return nil, err
	}
	res, err := m.callNamed(ctx, m.withAuth(c, r.Auth), r.App, r.Function, r.Body)
	if err != nil {
		return nil, err
	}
	return res.Value, nil
}

// errFault gives the fault of an error; what is none of ours is told without its text.
func (m *Module) errFault(err error) *Fault {
	if f, ok := asFault(err); ok {
		return f
	}
	if !errors.Is(err, context.Canceled) {
		m.log.Error("a call failed", "error", err)
	}
	return faultf(FaultBusy, "internal error")
}
