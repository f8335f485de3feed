package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/enclaveos/eos/pkg/manifest"
	"github.com/enclaveos/eos/pkg/manifest/payload"
	"github.com/enclaveos/eos/pkg/manifest/zstd"
	"github.com/enclaveos/eos/pkg/sgxs/fromwasm"
)

// appInfo is what build and inspect tell of an app.
type appInfo struct {
	manifest.App
	Code  *fromwasm.Module `json:"code,omitempty"`
	Fault string           `json:"fault,omitempty"` // why the runtime will not load it
}

func describeApps(p *payload.Payload, modules []*fromwasm.Module) []appInfo {
	apps := []appInfo{}
	for i := range p.Manifest.Apps {
		apps = append(apps, appInfo{App: p.Manifest.Apps[i], Code: modules[i]})
	}
	return apps
}

// imageApps are the apps in an image.
type imageApps struct {
	Manifest manifest.Hash   `json:"manifest_sha256"` // of its canonical bytes
	Engine   string          `json:"engine"`
	Apps     []appInfo       `json:"apps"`
	Roles    []manifest.Role `json:"roles"`
}

// readApps reads the apps in the image at path, nil if it is not one with apps,
// or no regular file.
func readApps(path string) (*imageApps, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return nil, err
	}
	d, err := fromwasm.Describe(bufio.NewReaderSize(f, 1<<20))
	switch {
	case errors.Is(err, fromwasm.ErrNoApps):
		return nil, nil
	case err != nil:
		return nil, err
	}
	text, err := d.Payload.Manifest.AppendBinary(nil)
	if err != nil {
		return nil, err
	}
	return &imageApps{sha256.Sum256(text), engineOf(d.CodeSize), inspectApps(d.Payload), d.Payload.Manifest.Roles}, nil
}

func printImageApps(u *ui, a *imageApps) error {
	u.printf("\n")
	facts := []string{"apps", fmt.Sprint(len(a.Apps)), "engine", a.Engine, "manifest", "SHA-256 " + a.Manifest.String()}
	for _, r := range a.Roles {
		for _, t := range r.Tokens {
			facts = append(facts, "role "+r.Name, "token with SHA-256 "+t.String())
		}
	}
	if err := u.facts(facts...); err != nil {
		return err
	}
	return printApps(u, a.Apps)
}

// inspectApps looks at each module of an image, which may have been made by
// anybody.
func inspectApps(p *payload.Payload) []appInfo {
	apps := []appInfo{}
	for i := range p.Manifest.Apps {
		a := appInfo{App: p.Manifest.Apps[i]}
		code, err := p.Code(i, zstd.Decode)
		if err == nil {
			a.Code, err = fromwasm.Check(context.Background(), code)
		}
		if err == nil {
			err = a.Code.Fits(&a.App)
		}
		if err != nil {
			a.Fault = err.Error()
		}
		apps = append(apps, a)
	}
	return apps
}

// moduleInfo is what inspect tells of a module that is in no image yet.
type moduleInfo struct {
	Module manifest.Module  `json:"module"`
	Code   *fromwasm.Module `json:"code"`
}

// inspectModule says what eos build would make of the module at path.
func inspectModule(u *ui, path string, asJSON bool) error {
	stored, err := readModule(path)
	if err != nil {
		return err
	}
	code, err := fromwasm.Open(stored)
	if err != nil {
		return moduleError(path, err)
	}
	found, err := fromwasm.Check(context.Background(), code)
	if err != nil {
		return moduleError(path, err)
	}
	m := payload.Describe(stored, code)
	if asJSON {
		return u.json(moduleInfo{m, found})
	}
	u.printf("%s: WASM module\n", path)
	facts := append(moduleFacts(&m), codeFacts(found)...)
	var needs []string
	for _, i := range found.Interfaces {
		needs = append(needs, string(i))
	}
	wasi := "no"
	if found.WASI {
		wasi = "preview 1"
	}
	return u.facts(append(facts, "needs", orNone(needs), "WASI", wasi, "memory", humanSize(uint64(found.MinPages)*manifest.PageSize)+" at its start")...)
}

// moduleError says of which module an error of fromwasm is, and its hint.
func moduleError(path string, err error) error {
	told := fmt.Errorf("%s: %w", path, err)
	var refused *fromwasm.Error
	if errors.As(err, &refused) && refused.Hint != "" {
		return withHint(told, "%s", refused.Hint)
	}
	return told
}

func moduleFacts(m *manifest.Module) []string {
	size := humanSize(m.Size)
	if m.Encoding != manifest.Raw {
		size = fmt.Sprintf("%s, %s as %s in the image", size, humanSize(m.StoredSize), m.Encoding)
	}
	return []string{"module", size, "SHA-256", m.SHA256.String()}
}

func codeFacts(m *fromwasm.Module) []string {
	facts := []string{"kind", string(m.Kind)}
	for i := range m.Functions {
		facts = append(facts, "function", oneLine(m.Functions[i].String()))
	}
	return facts
}

// printApps prints all that the manifest says of each app.
func printApps(u *ui, apps []appInfo) error {
	for i := range apps {
		u.printf("\n")
		if err := u.facts(appFacts(&apps[i])...); err != nil {
			return err
		}
	}
	return nil
}

func appFacts(a *appInfo) []string {
	facts := append([]string{"app", a.Name}, moduleFacts(&a.Module)...)
	if a.Fault != "" {
		facts = append(facts, "fault", oneLine(a.Fault))
	}
	if a.Code != nil {
		facts = append(facts, codeFacts(a.Code)...)
	}
	for _, h := range a.Hostnames {
		facts = append(facts, "host name", h)
	}
	var granted []string
	for _, i := range a.Interfaces {
		granted = append(granted, string(i))
	}
	facts = append(facts, "interfaces", orNone(granted))
	if len(a.Args) > 0 {
		facts = append(facts, "arguments", strings.Trim(fmt.Sprintf("%q", a.Args), "[]"))
	}
	for _, kv := range a.Env {
		facts = append(facts, "environment", oneLine(kv))
	}
	facts = append(facts, "egress", orNone(a.Egress))
	l := &a.Limits
	facts = append(facts, "limits", fmt.Sprintf("fuel %d, memory %s, time %v, output %s, %d calls at a time, storage %s, %d instances ready",
		l.Fuel, humanSize(uint64(l.MemoryPages)*manifest.PageSize), time.Duration(l.TimeMS)*time.Millisecond, humanSize(uint64(l.OutputBytes)), l.Concurrency, humanSize(l.Storage), l.Pool))
	p := &a.Permissions
	facts = append(facts, "callers", policyText(p.Default, p.Roles))
	for _, f := range p.Functions {
		facts = append(facts, "", oneLine(f.Name)+": "+policyText(f.Policy, f.Roles))
	}
	return facts
}

func orNone(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, " ")
}

func policyText(p manifest.Policy, roles []string) string {
	switch p {
	case manifest.Public:
		return "everybody"
	case manifest.Authenticated:
		return "who has any role"
	case manifest.WithRole:
		return "who has one of the roles " + strings.Join(roles, ", ")
	}
	return "the operator only"
}
