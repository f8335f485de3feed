package wasm

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/enclaveos/eos/pkg/manifest"
	"github.com/enclaveos/eos/pkg/ratls"
	"github.com/enclaveos/eos/pkg/runtime/kvstore"
)

// registryTable has the apps that were loaded at run time:
//
//	a ‖ name              the description, JSON of manifest.App
//	c ‖ name ‖ 0 ‖ index  a part of the code, index u32 big-endian
//	x ‖ name ‖ 0 ‖ n      an attestation extension
//
// An app is there when its description is: it is written last and deleted first. The
// code must have the size and hash of the description.
const registryTable = "wasm"

const codePart = 256 << 10

func descKey(name string) []byte    { return []byte("a" + name) }
func codePrefix(name string) []byte { return append([]byte("c"+name), 0) }

// persist stores a loaded app.
func (m *Module) persist(ctx context.Context, desc manifest.App, code []byte) error {
	t := m.host.Tables(registryTable)
	if err := m.forget(ctx, desc.Name); err != nil {
		return err
	}
	for i := 0; i*codePart < len(code); i++ {
		part := code[i*codePart : min(len(code), (i+1)*codePart)]
		if err := t.Put(ctx, binary.BigEndian.AppendUint32(codePrefix(desc.Name), uint32(i)), part); err != nil {
			return err
		}
	}
	b, err := json.Marshal(desc)
	if err != nil {
		return err
	}
	return t.Put(ctx, descKey(desc.Name), b)
}

// forget deletes a loaded app from the store, and what it has put into its
// certificate. Its tables stay.
func (m *Module) forget(ctx context.Context, name string) error {
	t := m.host.Tables(registryTable)
	if err := t.Delete(ctx, descKey(name)); err != nil {
		return err
	}
	for _, prefix := range [][]byte{codePrefix(name), append([]byte("x"+name), 0)} {
		var ops []kvstore.Op
		err := t.Keys(ctx, prefix, func(key []byte, _ int) error {
			ops = append(ops, kvstore.Op{Key: key, Delete: true})
			return nil
		})
		if err == nil && len(ops) > 0 {
			err = t.Batch(ctx, ops)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// reload loads what was loaded before. An app that does not load any more is told in
// the log and left out: what the certificate claims is what runs.
func (m *Module) reload(ctx context.Context) error {
	t := m.host.Tables(registryTable)
	var descs []manifest.App
	err := t.Scan(ctx, []byte("a"), func(_, value []byte) error {
		var d manifest.App
		if err := json.Unmarshal(value, &d); err != nil {
			return err
		}
		descs = append(descs, d)
		return nil
	})
	if err != nil {
		return fmt.Errorf("the table of loaded apps: %w", err)
	}
	for _, d := range descs {
		if m.apps[d.Name] != nil {
			m.log.Error("an app that was loaded has the name of one in the image and is left out", "app", d.Name)
			continue
		}
		code, err := m.storedCode(ctx, d)
		if err == nil {
			var a *App
			if a, err = m.host.Load(ctx, d, code); err == nil {
				m.apps[d.Name] = a
				m.log.Info("app", "app", d.Name, "code", a.CodeHash(), "origin", a.origin())
				continue
			}
		}
		m.log.Error("an app that was loaded could not be loaded again", "app", d.Name, "error", err)
	}
	err = t.Scan(ctx, []byte("x"), func(key, value []byte) error {
		name, n, ok := strings.Cut(string(key[1:]), "\x00")
		if !ok || len(n) != 4 {
			return errors.New("a malformed key")
		}
		if m.apps[name] == nil {
			return nil
		}
		if m.extensions[name] == nil {
			m.extensions[name] = map[uint32][]byte{}
		}
		m.extensions[name][binary.BigEndian.Uint32([]byte(n))] = value
		return nil
	})
	if err != nil {
		return fmt.Errorf("the apps' extensions: %w", err)
	}
	return nil
}

func (m *Module) storedCode(ctx context.Context, d manifest.App) ([]byte, error) {
	var code []byte
	err := m.host.Tables(registryTable).Scan(ctx, codePrefix(d.Name), func(_, value []byte) error {
		if uint64(len(code)+len(value)) > d.Module.Size {
			return errors.New("more code than the app has")
		}
		code = append(code, value...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if sha256.Sum256(code) != [32]byte(d.Module.SHA256) {
		return nil, errors.New("the stored code is not the app's")
	}
	return code, nil
}

// load is wasm_load: compiled, stored, and in the configuration when it returns.
func (m *Module) load(ctx context.Context, desc manifest.App, code []byte) (*App, error) {
	if f := m.reserve(desc.Name, false); f != nil {
		return nil, f
	}
	defer m.unreserve(desc.Name)
	if f := m.hostnamesFree(desc); f != nil {
		return nil, f
	}
	a, err := m.host.Load(ctx, desc, code)
	if err != nil {
		return nil, faultf(FaultArgument, "%v", err)
	}
	// A typing error must not leave out a restriction.
	for _, p := range desc.Permissions.Functions {
		if _, ok := a.functions[p.Name]; !ok && !(a.command && p.Name == startExport) {
			return nil, errors.Join(faultf(FaultArgument, "there is a policy for the function %q, which the app %s does not have", p.Name, desc.Name), a.Close(ctx))
		}
	}
	if m.host.Tables != nil {
		if err := m.persist(ctx, desc, code); err != nil {
			return nil, errors.Join(err, a.Close(ctx))
		}
	}
	m.mu.Lock()
	m.apps[desc.Name] = a
	m.mu.Unlock()
	if err := m.changed(); err != nil {
		m.mu.Lock()
		delete(m.apps, desc.Name)
		m.mu.Unlock()
		// What has been said of the app so far is taken back.
		undo := errors.Join(m.changed(), a.Close(ctx))
		if m.host.Tables != nil {
			undo = errors.Join(undo, m.forget(ctx, desc.Name))
		}
		var taken *ratls.HostError
		if errors.As(err, &taken) && undo == nil {
			return nil, faultf(FaultExists, "the host name %s is the enclave's own", taken.Host)
		}
		return nil, errors.Join(err, undo)
	}
	m.hostRoutes()
	m.log.Info("app loaded", "app", desc.Name, "code", a.CodeHash())
	return a, nil
}

// unload is wasm_unload: no call begins after it, and those under way end first.
func (m *Module) unload(ctx context.Context, name string) (bool, error) {
	if f := m.reserve(name, true); f != nil {
		return false, f
	}
	defer m.unreserve(name)
	m.mu.Lock()
	a := m.apps[name]
	if a != nil && a.BuiltIn {
		m.mu.Unlock()
		return false, faultf(FaultDenied, "app %s is part of the image: it cannot be unloaded", name)
	}
	delete(m.apps, name)
	delete(m.extensions, name)
	m.mu.Unlock()
	if a == nil {
		return false, nil
	}
	var err error
	if m.host.Tables != nil {
		err = m.forget(ctx, name)
	}
	err = errors.Join(err, m.changed(), a.Close(ctx))
	m.log.Info("app unloaded", "app", name)
	return true, err
}

// reserve makes sure that a name is loaded or unloaded once at a time.
func (m *Module) reserve(name string, there bool) *Fault {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.busy[name] {
		return faultf(FaultBusy, "app %s is being loaded or unloaded", short(name))
	}
	if !there && m.apps[name] != nil {
		return faultf(FaultExists, "there is an app %s already: unload it first", name)
	}
	m.busy[name] = true
	return nil
}

func (m *Module) unreserve(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.busy, name)
}

// hostnamesFree refuses host names that another app has.
func (m *Module) hostnamesFree(desc manifest.App) *Fault {
	for _, a := range m.sorted() {
		for _, h := range a.Hostnames {
			for _, own := range desc.Hostnames {
				if own == h {
					return faultf(FaultExists, "the host name %s is app %s's", h, a.Name)
				}
			}
		}
	}
	return nil
}
