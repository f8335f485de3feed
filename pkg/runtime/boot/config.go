package boot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/enclaveos/eos/pkg/ratls"
	"github.com/enclaveos/eos/pkg/runtime/measure"
	"github.com/enclaveos/eos/pkg/runtime/module"
)

// version is what the runtime says of itself.
func version() string {
	v := "(unknown)"
	if b, ok := debug.ReadBuildInfo(); ok {
		v = b.Main.Version
		for _, d := range b.Deps {
			if d.Path == "github.com/enclaveos/eos" { // a program of somebody else's
				v = d.Version
			}
		}
	}
	release, _, _ := strings.Cut(runtime.Version(), "-X:") // without the names of experiments
	return "eos " + v + " " + release
}

// coreLeaves are the runtime's own. The caller holds r.mu.
func (r *Runtime) coreLeaves() []measure.Leaf {
	var names []string
	for _, m := range r.modules {
		names = append(names, m.Name())
	}
	text := func(name, s string) measure.Leaf { return measure.Leaf{Name: "core." + name, Data: []byte(s)} }
	leaves := []measure.Leaf{
		{Name: "core.ca_cert", Data: r.ca.Certificate().Raw},
		text("evidence", r.config.Evidence),
		text("hosts", strings.Join(r.hosts(), ",")),
		text("leaf", r.config.Leaf),
		text("modules", strings.Join(names, ",")),
		text("runtime", version()),
		{Name: "core.operator"},
		{Name: "core.payload"},
		{Name: "core.attestation_servers"},
	}
	if r.operator != nil {
		leaves[6].Data = []byte(hex.EncodeToString(r.operator))
	}
	if r.payload != nil {
		leaves[7].Data = r.payload
	}
	if len(r.servers) > 0 {
		leaves[8].Data = serversText(r.servers)
	}
	return leaves
}

// hosts are the names in the platform's leaf.
func (r *Runtime) hosts() []string {
	hosts := append([]string{"localhost", "127.0.0.1", "::1"}, r.config.Hosts...)
	if host, _, err := net.SplitHostPort(r.config.Listen); err == nil && !net.ParseIP(host).IsUnspecified() && host != "" {
		hosts = append(hosts, host)
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// platformName is the common name of the platform's leaf.
const platformName = "Enclave OS RA-TLS"

// changed computes the configuration anew. From its return on every new connection
// sees the new root; while it works, those that would see the old one wait.
func (r *Runtime) changed() error {
	r.changing.Lock()
	defer r.changing.Unlock()
	r.mu.Lock()
	leaves := r.coreLeaves()
	servers := r.servers
	r.mu.Unlock()
	var claims []ratls.Extension
	var apps []ratls.Subject
	for _, m := range r.modules {
		if m, ok := m.(module.Configured); ok {
			leaves = append(leaves, m.ConfigLeaves()...)
		}
		if m, ok := m.(module.Claimant); ok {
			claims = append(claims, m.Extensions()...)
		}
		if m, ok := m.(module.Landlord); ok {
			apps = append(apps, m.Subjects()...)
		}
	}
	t, err := measure.New(leaves...)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	root, runtimeVersion := t.Root(), sha256.Sum256([]byte(version()))
	core := []ratls.Extension{{OID: ratls.OIDConfigRoot, Value: root[:]}, {OID: ratls.OIDRuntimeVersion, Value: runtimeVersion[:]}}
	if len(servers) > 0 {
		h := sha256.Sum256(serversText(servers))
		core = append(core, ratls.Extension{OID: ratls.OIDAttestationServers, Value: h[:]})
	}
	// Whoever meets an app is to know the platform as well.
	for i := range apps {
		apps[i].Extensions = append(slices.Clone(core), apps[i].Extensions...)
	}
	platform := ratls.Subject{Name: platformName, Hosts: r.hosts(), Extensions: append(core, claims...)}
	old := r.tree.Swap(t)
	if err := r.attester.SetSubjects(context.Background(), platform, apps...); err != nil {
		var taken *ratls.HostError
		if errors.As(err, &taken) {
			err = fmt.Errorf("%w: the enclave has %s for names of its own; take it out of the app's hostnames, or out of --host", err, strings.Join(r.hosts(), ", "))
		}
		return err
	}
	if old == nil || old.Root() != root {
		r.log.Info("configuration", "root", root.String())
	}
	return nil
}
