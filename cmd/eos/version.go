package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the release build: -ldflags "-X main.version=v1.2.3".
var version = ""

// versionInfo says what this executable was made from.
type versionInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Time     string `json:"commit_time,omitempty"`
	Modified bool   `json:"modified"` // built from a tree with changes
	Go       string `json:"go"`
	Platform string `json:"platform"`
	CGO      bool   `json:"cgo"`
	Path     string `json:"module"`
}

func buildInfo() versionInfo {
	v := versionInfo{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if bi, ok := debug.ReadBuildInfo(); ok {
		v.Path = bi.Main.Path
		if v.Version == "" {
			v.Version = bi.Main.Version
		}
		for _, s := range bi.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Commit = s.Value
			case "vcs.time":
				v.Time = s.Value
			case "vcs.modified":
				v.Modified = s.Value == "true"
			case "CGO_ENABLED":
				v.CGO = s.Value == "1"
			}
		}
	}
	if v.Version == "" {
		v.Version = "(devel)"
	}
	return v
}

func versionCmd(u *ui) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version [--json]",
		Short: "print the version and what it was built from",
		Args:  positional(0),
		RunE: func(*cobra.Command, []string) error {
			v := buildInfo()
			if asJSON {
				return u.json(v)
			}
			commit := v.Commit
			if commit == "" {
				commit = "unknown"
			}
			if v.Time != "" {
				commit += " of " + v.Time
			}
			if v.Modified {
				commit += ", with changes"
			}
			linking := "static"
			if v.CGO {
				linking = "with cgo"
			}
			return u.facts("eos", v.Version, "commit", commit, "built", v.Go+" "+v.Platform+", "+linking)
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// jsonFlag adds the flag that every reporting verb has.
func jsonFlag(cmd *cobra.Command, p *bool) {
	cmd.Flags().BoolVar(p, "json", false, "print one JSON document")
}
