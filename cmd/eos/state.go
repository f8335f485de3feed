package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/enclaveos/eos/pkg/enclave"
	"github.com/enclaveos/eos/pkg/runner/kvback"
	"github.com/enclaveos/eos/pkg/runtime/kvstore"
	"github.com/enclaveos/eos/pkg/runtime/seal"
	"github.com/enclaveos/eos/pkg/sgx"
)

func stateCmd(u *ui) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "state [--json] DIR",
		Short: "show what a state directory holds",
		Long: `Show what the state directory of an enclave holds, as far as the host can know:
who can open it (the seal policy), versions, sizes, and how many records there
are. Nothing of it is secret, and nothing is changed. While an enclave has the
directory open its records are not counted.

The state opens in the very image that made it, on the machine where it was made,
and nowhere else. To back it up, stop the enclave and copy the whole directory.`,
		Args: positional(1, "DIR"),
		RunE: func(_ *cobra.Command, args []string) error {
			d, err := describeState(args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return u.json(d)
			}
			return printState(u, d)
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// stateDescription is what can be told of a state directory.
type stateDescription struct {
	Dir     string                 `json:"dir"`
	InUse   bool                   `json:"in_use"`
	PID     string                 `json:"pid,omitempty"` // of who uses it
	Config  *configDescription     `json:"config,omitempty"`
	Root    *rootDescription       `json:"root,omitempty"`
	Store   int64                  `json:"store_bytes"`
	Damage  string                 `json:"store_error,omitempty"` // why the records could not be counted
	Records map[string]recordCount `json:"records,omitempty"`     // not if it is in use
	Files   []fileDescription      `json:"other_files,omitempty"`
}

// configDescription is the header of the sealed configuration.
type configDescription struct {
	fileDescription
	Version    byte   `json:"version,omitempty"` // of the seal
	Policy     string `json:"policy,omitempty"`
	Identity   string `json:"identity,omitempty"` // MRENCLAVE or MRSIGNER
	ISVProdID  uint16 `json:"isvprodid"`
	ISVSVN     uint16 `json:"isvsvn"`
	CPUSVN     string `json:"cpusvn,omitempty"`
	Attributes string `json:"attributes,omitempty"`
	Error      string `json:"error,omitempty"` // why it is none
}

// rootDescription is the header of the sealed root.
type rootDescription struct {
	fileDescription
	Version byte   `json:"version,omitempty"`
	Store   string `json:"store,omitempty"`
	Commit  uint64 `json:"commit"`
	Error   string `json:"error,omitempty"`
}

type recordCount struct {
	Count int64 `json:"count"`
	Bytes int64 `json:"bytes"`
}

type fileDescription struct {
	Name    string    `json:"name"`
	Size    int64     `json:"size"`
	Written time.Time `json:"written"`
}

// stateRecords names the kinds of records, in the order in which they are shown.
var stateRecords = []struct {
	kind byte
	name string
}{{'v', "values"}, {'n', "index nodes"}, {'c', "checkpoint"}, {'l', "log"}}

func describeState(dir string) (*stateDescription, error) {
	info, err := kvback.Inspect(dir)
	switch {
	case errors.Is(err, kvback.ErrNoState):
		return nil, withHint(err, "eos run makes one with --state DIR; without the flag it is APP.state beside the image")
	case errors.Is(err, fs.ErrNotExist):
		return nil, withHint(err, "without --state, eos run keeps the state of APP.sgxs in APP.state")
	case err != nil:
		return nil, err
	}
	d := &stateDescription{Dir: dir, Store: info.Store}
	if info.InUse != nil {
		d.InUse, d.PID = true, info.InUse.PID
	}
	for _, f := range info.Sealed {
		fd := fileDescription{f.Name, f.Size, f.Written.UTC().Truncate(time.Second)}
		switch f.Name {
		case seal.File:
			d.Config = describeConfig(dir, fd)
		case kvstore.RootFile:
			d.Root = describeRoot(dir, fd)
		default:
			d.Files = append(d.Files, fd)
		}
	}
	for _, f := range info.Other {
		d.Files = append(d.Files, fileDescription{f.Name, f.Size, f.Written.UTC().Truncate(time.Second)})
	}
	if info.Damage != nil {
		d.Damage = info.Damage.Error()
	}
	if info.Records != nil {
		d.Records = make(map[string]recordCount)
		for _, r := range stateRecords {
			d.Records[strings.ReplaceAll(r.name, " ", "_")] = recordCount(info.Records[r.kind])
			delete(info.Records, r.kind)
		}
		var unknown recordCount
		for _, r := range info.Records {
			unknown.Count += r.Count
			unknown.Bytes += r.Bytes
		}
		if unknown.Count > 0 {
			d.Records["unknown"] = unknown
		}
	}
	return d, nil
}

func describeConfig(dir string, f fileDescription) *configDescription {
	c := &configDescription{fileDescription: f}
	b, err := kvback.ReadSealed(dir, f.Name)
	if err != nil {
		c.Error = err.Error()
		return c
	}
	blob, err := enclave.ParseBlob(b)
	if err != nil {
		c.Error = err.Error()
		return c
	}
	c.Version = b[len("EOSSEAL")]
	c.Policy, c.Identity = "MRENCLAVE", blob.Identity.String()
	if blob.Policy&sgx.PolicyMREnclave == 0 {
		c.Policy = "MRSIGNER"
		c.Error = "sealed for all images of a signer: no runtime opens that"
	}
	c.ISVProdID, c.ISVSVN, c.CPUSVN, c.Attributes = blob.ISVProdID, blob.ISVSVN, hex.EncodeToString(blob.CPUSVN[:]), blob.Flags.String()
	return c
}

func describeRoot(dir string, f fileDescription) *rootDescription {
	d := &rootDescription{fileDescription: f}
	b, err := kvback.ReadSealed(dir, f.Name)
	if err != nil {
		d.Error = err.Error()
		return d
	}
	r, err := kvstore.ParseRoot(b)
	if err != nil {
		d.Error = err.Error()
		return d
	}
	d.Version, d.Store, d.Commit = r.Version, hex.EncodeToString(r.Store[:]), r.Commit
	return d
}

func printState(u *ui, d *stateDescription) error {
	u.printf("%s: state directory, ", d.Dir)
	switch {
	case !d.InUse:
		u.printf("not in use\n")
	case d.PID == "":
		u.printf("in use\n")
	default:
		u.printf("in use by process %s\n", d.PID)
	}
	w := u.table()
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\n", name, oneLine(fmt.Sprintf(format, args...)))
	}
	file := func(f fileDescription) string {
		return fmt.Sprintf("%s, written %s", humanSize(uint64(f.Size)), f.Written.Format(time.RFC3339))
	}
	switch c := d.Config; {
	case c == nil:
		row("configuration", "none: the next start with this directory is a first one, if the store is empty and no sealed root has a commit")
	default:
		row("configuration", "%s", file(c.fileDescription))
		if c.Policy != "" {
			row("  version", "%d", c.Version)
			row("  seal policy", "%s", c.Policy)
			row("  "+c.Policy, "%s", c.Identity)
			row("  attributes", "%s", c.Attributes)
			row("  ISVPRODID", "%d", c.ISVProdID)
			row("  ISVSVN", "%d", c.ISVSVN)
			row("  CPUSVN", "%s", c.CPUSVN)
		}
		if c.Error != "" {
			row("  error", "%s", c.Error)
		}
	}
	switch r := d.Root; {
	case r == nil:
		row("sealed root", "none")
	case r.Error != "":
		row("sealed root", "%s", file(r.fileDescription))
		row("  error", "%s", r.Error)
	default:
		row("sealed root", "%s", file(r.fileDescription))
		row("  version", "%d", r.Version)
		row("  store", "%s", r.Store)
		row("  commit", "%d", r.Commit)
	}
	row("store", "%s on the disk", humanSize(uint64(d.Store)))
	if d.Damage != "" {
		row("  error", "%s", d.Damage)
	}
	if d.Records == nil && d.InUse {
		row("  records", "not counted: the store is locked while it is in use")
	}
	for _, r := range stateRecords {
		if n, ok := d.Records[strings.ReplaceAll(r.name, " ", "_")]; ok {
			row("  "+r.name, "%d, %s", n.Count, humanSize(uint64(n.Bytes)))
		}
	}
	if n, ok := d.Records["unknown"]; ok {
		row("  unknown", "%d, %s", n.Count, humanSize(uint64(n.Bytes)))
	}
	for _, f := range d.Files {
		row(f.Name, "%s", file(f))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	switch {
	case d.Damage != "":
		u.hint("the store is damaged: restore a backup of the whole directory")
	case d.Config != nil && d.Config.Error == "":
		u.hint("it opens in the image of this %s alone, on the machine where it was made", d.Config.Policy)
	}
	return nil
}
