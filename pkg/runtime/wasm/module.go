// Package wasm is the runtime's module for WASM apps: those of the image's manifest,
// and those that a manager loads at run time.
//
// A module is decoded strictly, metered (package meter), validated and compiled
// inside the enclave; nobody supplies machine code. Each call gets a fresh instance,
// fuel, memory, time and room for its result within the app's limits, and sees
// tables, keys and files of its own app only.
//
// An app is called
//
//   - by name: POST /rpc/<app>/<function> with a JSON object of named parameters, or
//     wasm_call in POST /data; see package abi for the types, and how a guest declares
//     them;
//   - as a command that runs once a request, with the request as its environment and
//     standard input and its standard output as the response: any method of
//     /app/<app>/<path>, or of <path> on one of the app's host names.
package wasm

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/enclaveos/eos/pkg/manifest"
	"github.com/enclaveos/eos/pkg/manifest/payload"
	"github.com/enclaveos/eos/pkg/manifest/zstd"
	"github.com/enclaveos/eos/pkg/ratls"
	"github.com/enclaveos/eos/pkg/runtime/measure"
	"github.com/enclaveos/eos/pkg/runtime/module"
)

// Module is the module. Its zero value is ready to be started.
type Module struct {
	// Memory bounds the linear memory of all instances together, in bytes; 0: nothing
	// does.
	Memory int64

	host     Host
	log      *slog.Logger
	changed  func() error
	manifest *manifest.Manifest // of the image; empty if it has none
	trusted  *authorities       // nil: the runtime's
	mux      *http.ServeMux

	mu         sync.RWMutex
	apps       map[string]*App
	busy       map[string]bool // names that are being loaded or unloaded
	extensions map[string]map[uint32][]byte
	hosts      map[string]bool // host names with a route
}

// Name is "wasm".
func (m *Module) Name() string { return "wasm" }

// Config is what a module is started with.
type Config struct {
	Payload  []byte // of the image; nil: no apps are built in
	Tables   Tables // nil: no store
	Quotas   Quotas // nil: what apps store is not bounded
	SealRoot []byte // nil: no seal keys
	Fetch    Fetcher
	Dial     Dialer
	Engine   EngineKind // empty: what there is
	Log      *slog.Logger
	Changed  func() error
}

// StartWith loads the apps: those of the image, which must all be good, then those
// that were loaded before, of which each can fail alone.
func (m *Module) StartWith(ctx context.Context, c Config) error {
	if c.Engine == "" {
		c.Engine = Probe(ctx)
	}
	m.log, m.changed = c.Log, c.Changed
	m.host = Host{
		Engine: c.Engine, Log: c.Log, Tables: c.Tables, Quotas: c.Quotas, SealRoot: c.SealRoot, Fetch: c.Fetch, Dial: c.Dial,
		SetExtension: m.setExtension, Memory: m.Memory,
	}
	m.apps, m.busy = map[string]*App{}, map[string]bool{}
	m.extensions, m.hosts = map[string]map[uint32][]byte{}, map[string]bool{}
	m.manifest = &manifest.Manifest{Format: manifest.Format}
	if c.Payload != nil {
		p, err := payload.Parse(c.Payload)
		if err != nil {
			return err
		}
		m.manifest = p.Manifest
		for i, desc := range p.Manifest.Apps {
			code, err := p.Code(i, zstd.Decode)
			if err != nil {
				return fmt.Errorf("app %s: %w", desc.Name, err)
			}
			begun := time.Now()
			a, err := m.host.load(ctx, desc, code, true)
			if err != nil {
				return err
			}
			m.apps[desc.Name] = a
			m.log.Info("app", "app", desc.Name, "code", a.CodeHash(), "engine", string(c.Engine), "took", time.Since(begun).Round(time.Millisecond))
		}
	}
	if c.Tables == nil {
		return nil
	}
	return m.reload(ctx)
}

// Stop implements module.Stopper: calls under way end first.
func (m *Module) Stop(ctx context.Context) error {
	m.mu.Lock()
	apps := slices.Collect(maps.Values(m.apps))
	m.apps = map[string]*App{}
	m.mu.Unlock()
	var all error
	for _, a := range apps {
		all = errors.Join(all, a.Close(ctx))
	}
	return all
}

// app finds an app.
func (m *Module) app(name string) (*App, *Fault) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if a := m.apps[name]; a != nil {
		return a, nil
	}
	return nil, faultf(FaultUnknown, "there is no app %s", short(name))
}

// sorted are the apps by name.
func (m *Module) sorted() []*App {
	m.mu.RLock()
	defer m.mu.RUnlock()
	list := slices.Collect(maps.Values(m.apps))
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list
}

// configHash is SHA-256 of the description of an app: its limits, interfaces,
// environment, egress and permissions.
func (a *App) configHash() [32]byte {
	b, err := json.Marshal(a.App)
	if err != nil { // strings and numbers only
		panic(err)
	}
	return sha256.Sum256(b)
}

// origin says where an app is from.
func (a *App) origin() string {
	if a.BuiltIn {
		return "image"
	}
	return "loaded"
}

// ConfigLeaves implements module.Configured:
//
//	wasm.engine                compiler or interpreter
//	wasm.egress_cas            SHA-256 of the authorities of https_fetch, hex; absent:
//	                           no app may use it
//	wasm.<app>.code_hash       SHA-256 of the module, hex
//	wasm.<app>.config_hash     SHA-256 of its description, hex
//	wasm.<app>.origin          image or loaded
//	wasm.<app>.extension.<n>   what it has put into its certificate
func (m *Module) ConfigLeaves() []measure.Leaf {
	leaves := []measure.Leaf{{Name: "wasm.engine", Data: []byte(m.host.Engine)}, {Name: "wasm.egress_cas"}}
	if m.egress() {
		sum := m.authoritiesHash()
		leaves[1].Data = []byte(hex.EncodeToString(sum[:]))
	}
	for _, a := range m.sorted() {
		config := a.configHash()
		leaves = append(leaves,
			measure.Leaf{Name: "wasm." + a.Name + ".code_hash", Data: []byte(a.CodeHash())},
			measure.Leaf{Name: "wasm." + a.Name + ".config_hash", Data: []byte(hex.EncodeToString(config[:]))},
			measure.Leaf{Name: "wasm." + a.Name + ".origin", Data: []byte(a.origin())})
		m.eachExtension(a.Name, func(n uint32, v []byte) {
			leaves = append(leaves, measure.Leaf{Name: fmt.Sprintf("wasm.%s.extension.%d", a.Name, n), Data: v})
		})
	}
	return leaves
}

func (m *Module) eachExtension(app string, f func(n uint32, v []byte)) {
	m.mu.RLock()
	set := maps.Clone(m.extensions[app])
	m.mu.RUnlock()
	for _, n := range slices.Sorted(maps.Keys(set)) {
		f(n, set[n])
	}
}

// egress reports whether an app may use https_fetch.
func (m *Module) egress() bool {
	return slices.ContainsFunc(m.sorted(), func(a *App) bool { return a.May(manifest.HTTPS) })
}

// authoritiesHash is that of whom https_fetch believes.
func (m *Module) authoritiesHash() [32]byte {
	if m.trusted == nil {
		return mozillas().hash
	}
	return m.trusted.hash
}

// Extensions implements module.Claimant: the hash over all apps, the code's hash where
// there is just one, and that of the authorities of https_fetch where an app may use it.
//
// The hash over all is SHA-256 over, for each app in the order of names: the length of
// its name in one byte, its name, the hash of its code.
func (m *Module) Extensions() []ratls.Extension {
	apps := m.sorted()
	if len(apps) == 0 {
		return nil
	}
	h := sha256.New()
	for _, a := range apps {
		h.Write([]byte{byte(len(a.Name))})
		h.Write([]byte(a.Name))
		h.Write(a.Hash[:])
	}
	list := []ratls.Extension{{OID: ratls.OIDWorkloads, Value: h.Sum(nil)}}
	if len(apps) == 1 {
		list = append(list, ratls.Extension{OID: ratls.OIDWASMCode, Value: apps[0].Hash[:]})
	}
	if m.egress() {
		sum := m.authoritiesHash()
		list = append(list, ratls.Extension{OID: ratls.OIDEgressCAs, Value: sum[:]})
	}
	return list
}

// Subjects implements module.Landlord: an app with host names has a certificate of its
// own.
func (m *Module) Subjects() []ratls.Subject {
	var list []ratls.Subject
	for _, a := range m.sorted() {
		if len(a.Hostnames) == 0 {
			continue
		}
		config := a.configHash()
		s := ratls.Subject{Name: a.Name, Hosts: a.Hostnames, Extensions: []ratls.Extension{
			{OID: ratls.OIDAppCode, Value: a.Hash[:]},
			{OID: ratls.OIDAppKeySource, Value: []byte("generated")},
			{OID: ratls.OIDAppConfig, Value: config[:]},
		}}
		m.eachExtension(a.Name, func(n uint32, v []byte) {
			oid := append(slices.Clone(ratls.OIDAppConfig), int(n))
			s.Extensions = append(s.Extensions, ratls.Extension{OID: oid, Value: v})
		})
		list = append(list, s)
	}
	return list
}

// Status implements module.Reporter.
func (m *Module) Status() any {
	type app struct {
		Name     string `json:"name"`
		CodeHash string `json:"code_hash"`
		Origin   string `json:"origin"`
		Calls    uint64 `json:"calls"`
		Faults   uint64 `json:"faults"`
		Fuel     uint64 `json:"fuel"`
	}
	s := struct {
		Status string     `json:"status"`
		Engine EngineKind `json:"engine"`
		Memory int64      `json:"memory_bytes"`
		Apps   []app      `json:"apps"`
	}{"ok", m.host.Engine, m.host.memory.inUse(), []app{}}
	for _, a := range m.sorted() {
		s.Apps = append(s.Apps, app{a.Name, a.CodeHash(), a.origin(), a.stats.calls.Load(), a.stats.faults.Load(), a.stats.fuel.Load()})
	}
	return s
}

// roles are the manifest's roles of a caller.
func (m *Module) roles(c module.Caller) []string {
	if c.Token == "" {
		return nil
	}
	return m.manifest.RolesOf(c.Token)
}

// allow decides whether a caller may call a function. What is not allowed by a rule is
// refused.
func (m *Module) allow(a *App, function string, c module.Caller) *Fault {
	if c.Role >= module.Manager {
		return nil
	}
	policy, roles := a.Permissions.For(function)
	has := m.roles(c)
	switch policy {
	case manifest.Public:
		return nil
	case manifest.Authenticated:
		if len(has) > 0 || c.Known {
			return nil
		}
	case manifest.WithRole:
		if slices.ContainsFunc(has, func(r string) bool { return slices.Contains(roles, r) }) {
			return nil
		}
	case manifest.Operator:
	}
	f := faultf(FaultDenied, "this caller may not call %s of app %s", function, a.Name)
	if len(has) == 0 && !c.Known {
		f = faultf(FaultToken, "%s of app %s needs a token", function, a.Name)
	}
	a.stats.fault(f)
	return f
}

// caller is what an app learns of who calls.
func (m *Module) caller(ctx context.Context, c module.Caller) Caller {
	out := Caller{Role: c.Role.String(), Roles: m.roles(c)}
	if p, ok := ratls.PeerOf(ctx); ok {
		if r := p.Result(); r != nil && r.Quote != nil && r.Quote.Report != nil {
			out.Peer = hex.EncodeToString(r.Quote.Report.MREnclave[:])
		}
	}
	return out
}

// Extension keys in the module's table: x ‖ app ‖ 0 ‖ n.
func extensionKey(app string, n uint32) []byte {
	return binary.BigEndian.AppendUint32(append([]byte("x"+app), 0), n)
}

// maxExtensions bounds those of one app.
const maxExtensions = 16

// setExtension is attestation_set.
func (m *Module) setExtension(ctx context.Context, app string, n uint32, value []byte) error {
	m.mu.Lock()
	set := m.extensions[app]
	old, had := set[n]
	switch {
	case len(value) == 0 && !had, had && string(old) == string(value):
		m.mu.Unlock()
		return nil
	case !had && len(set) >= maxExtensions:
		m.mu.Unlock()
		return errTooMany
	}
	set = maps.Clone(set)
	if set == nil {
		set = map[uint32][]byte{}
	}
	if len(value) == 0 {
		delete(set, n)
	} else {
		set[n] = value
	}
	m.extensions[app] = set
	m.mu.Unlock()
	if m.host.Tables != nil {
		t := m.host.Tables(registryTable)
		var err error
		if len(value) == 0 {
			err = t.Delete(ctx, extensionKey(app, n))
		} else {
			err = t.Put(ctx, extensionKey(app, n), value)
		}
		if err != nil {
			return err
		}
	}
	return m.changed()
}

// hostRoutes gives each app's host names a route, once.
func (m *Module) hostRoutes() {
	if m.mux == nil {
		return
	}
	for _, a := range m.sorted() {
		for _, h := range a.Hostnames {
			m.mu.Lock()
			known := m.hosts[h]
			m.hosts[h] = true
			m.mu.Unlock()
			if !known && !strings.ContainsAny(h, "{}/ ") {
				m.mux.HandleFunc(h+"/", m.serveHost)
			}
		}
	}
}
