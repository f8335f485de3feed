package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/enclaveos/eos/pkg/manifest"
	"github.com/enclaveos/eos/pkg/sgxs/fromwasm"
	"github.com/spf13/cobra"
)

func appCmd(u *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "app",
		Short: "load, list and unload apps of an enclave that runs",
		Long: `Load WASM apps into an enclave that runs, list its apps, or unload some, as its
operator. The enclave must prove who it is before it gets the token or an app.

The hash of each app is in the certificate and in the attested configuration with
the next connection, so that clients who pin the configuration notice. What is
loaded is there again after a restart; what is part of the image cannot be unloaded.

  eos app load --token operator-token --mrenclave apps.sgxs notes.wasm
  eos app list --token operator-token --policy prod.json https://notes.example.org
  eos app unload --token operator-token --policy prod.json https://notes.example.org/notes`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownVerb(cmd, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, sub := range []*cobra.Command{appLoadCmd(u), appListCmd(u), appUnloadCmd(u)} {
		sub.DisableFlagsInUseLine = true
		cmd.AddCommand(sub)
	}
	return cmd
}

func appLoadCmd(u *ui) *cobra.Command {
	var (
		f            clientFlags
		manifestPath string
		asJSON       bool
	)
	cmd := &cobra.Command{
		Use:   "load [FLAGS] APP.wasm [https://HOST[:PORT]]",
		Short: "load an app into an enclave that runs",
		Long: `Load a WASM module into an enclave that runs, as its operator. The app has the
name of its file. What it may do says a manifest of one app, in the words of eos
build -m; without one it has the same defaults. Roles are those of the image.`,
		Args: positional(1, "APP.wasm", "https://HOST[:PORT]"),
		RunE: func(_ *cobra.Command, args []string) error {
			hostport, err := serverOr(args[1:])
			if err != nil {
				return err
			}
			order, err := newLoadOrder(args[0], manifestPath)
			if err != nil {
				return err
			}
			c, err := f.open(u, hostport)
			if err != nil {
				return err
			}
			ctx, cancel := f.untilInterrupt()
			defer cancel()
			app, err := order.send(ctx, u, c)
			if err != nil {
				return err
			}
			if asJSON {
				return u.json(app)
			}
			return printLoaded(u, app)
		},
		ValidArgsFunction: completeFiles("wasm"),
	}
	cmd.Flags().StringVarP(&manifestPath, "manifest", "m", "", "what the app may do, `EOS.toml`")
	completeFlagFiles(cmd, "manifest", "toml")
	f.add(cmd)
	jsonFlag(cmd, &asJSON)
	return cmd
}

func appListCmd(u *ui) *cobra.Command {
	var (
		f      clientFlags
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "list [FLAGS] [https://HOST[:PORT]]",
		Short: "list the apps of an enclave that runs",
		Long:  `List the apps of an enclave that runs: where each is from, the hash of its code, its functions.`,
		Args:  positional(0, "https://HOST[:PORT]"),
		RunE: func(_ *cobra.Command, args []string) error {
			hostport, err := serverOr(args)
			if err != nil {
				return err
			}
			c, err := f.open(u, hostport)
			if err != nil {
				return err
			}
			ctx, cancel := f.untilInterrupt()
			defer cancel()
			var said struct{ Apps []servedApp }
			if err := c.order(ctx, "wasm_list", struct{}{}, &said, nil); err != nil {
				return err
			}
			if asJSON {
				return u.json(said.Apps)
			}
			return printServed(u, said.Apps)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f.add(cmd)
	jsonFlag(cmd, &asJSON)
	return cmd
}

func appUnloadCmd(u *ui) *cobra.Command {
	var (
		f      clientFlags
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "unload [FLAGS] APP",
		Short: "unload an app from an enclave that runs",
		Long: `Unload an app that was loaded: calls under way end first, and it is not there after a
restart either. What it has stored stays, for an app of the same name.

APP is the app's name, served at https://` + defaultServer + `, or https://HOST[:PORT]/APP.`,
		Args: positional(1, "APP"),
		RunE: func(_ *cobra.Command, args []string) error {
			hostport, app, err := appAddress(args[0])
			if err != nil {
				return err
			}
			c, err := f.open(u, hostport)
			if err != nil {
				return err
			}
			ctx, cancel := f.untilInterrupt()
			defer cancel()
			var said struct {
				Status string `json:"status"`
				Name   string `json:"name"`
			}
			if err := c.order(ctx, "wasm_unload", map[string]string{"name": app}, &said, nil); err != nil {
				return err
			}
			if said.Status != "unloaded" {
				return withHint(fmt.Errorf("there is no app %s", oneLine(app)), "eos app list shows what is there")
			}
			if asJSON {
				return u.json(said)
			}
			return u.facts("unloaded", oneLine(said.Name))
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f.add(cmd)
	jsonFlag(cmd, &asJSON)
	return cmd
}

// serverOr is the server that is named, or the one where eos run listens.
func serverOr(args []string) (string, error) {
	if len(args) == 0 {
		return defaultServer, nil
	}
	return serverAddress(args[0])
}

// loadOrder is what wasm_load wants: all of it, so that the defaults of whoever builds
// hold, whatever the enclave's are.
type loadOrder struct {
	Name        string               `json:"name"`
	Bytes       []byte               `json:"bytes"`
	Hostnames   []string             `json:"hostnames"`
	Interfaces  []manifest.Interface `json:"interfaces"`
	Args        []string             `json:"args"`
	Env         map[string]string    `json:"env"`
	Egress      []string             `json:"egress"`
	Limits      manifest.Limits      `json:"limits"`
	Permissions loadPermissions      `json:"permissions"`
}

type loadPermissions struct {
	Default   manifest.Policy           `json:"default_policy"`
	Roles     []string                  `json:"default_roles"`
	Functions map[string]functionPolicy `json:"functions"`
}

type functionPolicy struct {
	Policy manifest.Policy `json:"policy"`
	Roles  []string        `json:"roles"`
}

// maxLoad is the largest module that a request of 16 MiB has room for, as base64.
const maxLoad = 12<<20 - 64<<10

// newLoadOrder reads a module and a manifest of it, and refuses what the enclave would.
func newLoadOrder(path, manifestPath string) (*loadOrder, error) {
	if manifestPath != "" {
		if m, err := readManifest(manifestPath); err != nil {
			return nil, err
		} else if len(m.Apps) != 1 || len(m.Roles) > 0 {
			return nil, withHint(fmt.Errorf("%s has %d apps and %d roles: one app is loaded at a time, with roles that the image has", manifestPath, len(m.Apps), len(m.Roles)),
				"write a manifest of just this app")
		}
	}
	m, files, err := loadApps([]string{path}, manifestPath, nil)
	if err != nil {
		return nil, err
	}
	a := &m.Apps[0]
	code, err := fromwasm.Open(files[a.Name].data)
	if err != nil {
		return nil, moduleError(path, err)
	}
	found, err := fromwasm.Check(context.Background(), code)
	if err == nil {
		err = found.Fits(a)
	}
	if err != nil {
		return nil, moduleError(path, err)
	}
	if len(code) > maxLoad {
		return nil, withHint(fmt.Errorf("%s has %s: at most %s can be loaded at run time", path, humanSize(uint64(len(code))), humanSize(maxLoad)),
			"eos build makes it a part of an image")
	}
	o := &loadOrder{
		Name: a.Name, Bytes: code, Hostnames: append([]string{}, a.Hostnames...), Interfaces: append([]manifest.Interface{}, a.Interfaces...),
		Args: append([]string{}, a.Args...), Env: map[string]string{}, Egress: append([]string{}, a.Egress...), Limits: a.Limits,
		Permissions: loadPermissions{a.Permissions.Default, append([]string{}, a.Permissions.Roles...), map[string]functionPolicy{}},
	}
	for _, kv := range a.Env {
		k, v, _ := strings.Cut(kv, "=")
		o.Env[k] = v
	}
	for _, p := range a.Permissions.Functions {
		o.Permissions.Functions[p.Name] = functionPolicy{p.Policy, append([]string{}, p.Roles...)}
	}
	return o, nil
}

// servedApp is an app as the enclave tells of it.
type servedApp struct {
	Name       string   `json:"name"`
	Hostnames  []string `json:"hostnames"`
	CodeHash   string   `json:"code_hash"`
	ConfigHash string   `json:"configuration_hash"`
	Origin     string   `json:"origin"`
	MaxFuel    uint64   `json:"max_fuel"`
	Exports    []struct {
		Name    string `json:"name"`
		Params  int    `json:"param_count"`
		Results int    `json:"result_count"`
	} `json:"exports"`
}

func (o *loadOrder) send(ctx context.Context, u *ui, c *enclaveClient) (*servedApp, error) {
	var said struct {
		App servedApp `json:"app"`
	}
	progress := u.progress("sending "+o.Name, int64(len(o.Bytes)/3*4))
	defer progress.end()
	if err := c.order(ctx, "wasm_load", o, &said, progress); err != nil {
		return nil, err
	}
	if want := manifest.Hash(sha256.Sum256(o.Bytes)).String(); said.App.CodeHash != want {
		return nil, fmt.Errorf("the enclave has loaded the code %s, not %s", oneLine(said.App.CodeHash), want)
	}
	return &said.App, nil
}

// order is one envelope of POST /data: name and body, and the answer.
func (c *enclaveClient) order(ctx context.Context, name string, body, answer any, p *progress) error {
	b, err := json.Marshal(map[string]any{name: body})
	if err != nil {
		return err
	}
	a, err := c.send(ctx, "/data", b, p)
	if err != nil {
		return err
	}
	var said struct {
		Status  string `json:"status"`
		Message string `json:"message"`
	}
	if a.status == http.StatusUnauthorized && c.token != "" {
		return errors.New("the enclave refuses: the token is not its operator's")
	}
	if err := a.fault(); err != nil {
		return err
	}
	switch err := json.Unmarshal(a.body, &said); {
	case err != nil, said.Status == "":
		return withHint(errors.New("the enclave does not know what an app is"), "eos build APP.wasm makes an image that runs apps")
	case said.Status == "error":
		return errors.New(oneLine(said.Message))
	}
	return json.Unmarshal(a.body, answer)
}

func (a *servedApp) functions() string {
	var names []string
	for _, e := range a.Exports {
		names = append(names, oneLine(e.Name))
	}
	return orNone(names)
}

func printLoaded(u *ui, a *servedApp) error {
	facts := []string{"loaded", oneLine(a.Name), "SHA-256", oneLine(a.CodeHash), "functions", a.functions()}
	for _, h := range a.Hostnames {
		facts = append(facts, "host name", oneLine(h))
	}
	return u.facts(facts...)
}

func printServed(u *ui, apps []servedApp) error {
	w := u.table()
	fmt.Fprint(w, "app\tfrom\tSHA-256 of its code\thost names\tfunctions\n")
	for i := range apps {
		a := &apps[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", oneLine(a.Name), oneLine(a.Origin), oneLine(a.CodeHash), oneLine(orNone(a.Hostnames)), a.functions())
	}
	return w.Flush()
}
