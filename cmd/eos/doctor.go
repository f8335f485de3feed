package main

import (
	"fmt"

	"github.com/enclaveos/eos/pkg/runner/platform/softsgx"
	"github.com/enclaveos/eos/pkg/runner/platform/softsgx/microcode"
	"github.com/spf13/cobra"
)

// diagnosis is what doctor says, in the shape of its JSON.
type diagnosis struct {
	Auto      string              `json:"auto"` // the platform that auto picks, empty if none
	Platforms []platformDiagnosis `json:"platforms"`
	// Restrictions is what the software platform does not enforce.
	Restrictions []string `json:"restrictions"`
}

type platformDiagnosis struct {
	Name      string  `json:"name"`
	Usable    bool    `json:"usable"`    // the machine has all that it needs
	Supported bool    `json:"supported"` // by this version of eos
	Checks    []check `json:"checks"`
}

type check struct {
	Name   string `json:"name"`
	Needed bool   `json:"needed"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty"`
}

func doctorCmd(u *ui) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor [--json]",
		Short: "say what this machine can do, and how to help it",
		Long: `Look at what this machine has of what the platforms need, say how to mend what
is missing, and which platform --platform auto picks. Nothing is changed.

The exit status is 0 if enclaves can run and 1 if they cannot.`,
		Args: positional(0),
		RunE: func(*cobra.Command, []string) error {
			d := diagnose()
			var err error
			if asJSON {
				err = u.json(d)
			} else {
				err = printDiagnosis(u, d)
			}
			if err == nil && d.Auto == "" {
				err = exitStatus(exitError)
			}
			return err
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func diagnose() diagnosis {
	d := diagnosis{Restrictions: []string{}}
	checks := softsgx.Probe()
	for _, p := range []platformDiagnosis{{Name: "software", Supported: true}, {Name: "hardware"}} {
		p.Usable, p.Checks = softsgx.Usable(checks, p.Name), []check{}
		for _, c := range checks {
			if c.Platform == p.Name {
				p.Checks = append(p.Checks, check{c.Name, c.Needed, c.OK, c.Detail, c.Fix})
			}
		}
		d.Platforms = append(d.Platforms, p)
	}
	if d.Platforms[0].Usable {
		d.Auto = "software"
		// With the keys of no device: this is to ask, not to run.
		if p, err := softsgx.New(softsgx.Options{Device: microcode.NewDevice([32]byte{})}); err == nil {
			d.Restrictions = append(d.Restrictions, p.Caps().Restrictions...)
		}
	}
	return d
}

func printDiagnosis(u *ui, d diagnosis) error {
	for _, p := range d.Platforms {
		verdict := "works"
		switch {
		case !p.Usable:
			verdict = "does not work here"
		case !p.Supported:
			verdict = "the machine has what it needs"
		}
		if !p.Supported {
			verdict += " (this version of eos does not run enclaves on it)"
		}
		u.printf("%s platform: %s\n", p.Name, verdict)
		w := u.table()
		for _, c := range p.Checks {
			mark := "ok"
			switch {
			case !c.OK && c.Needed:
				mark = "missing"
			case !c.OK:
				mark = "lacks"
			}
			fmt.Fprintf(w, "  %s\t%s\t%s\n", mark, c.Name, oneLine(c.Detail))
			if !c.OK && c.Fix != "" {
				fmt.Fprintf(w, "  \t\tfix: %s\n", oneLine(c.Fix))
			}
		}
		if err := w.Flush(); err != nil {
			return err
		}
		u.printf("\n")
	}
	if len(d.Restrictions) > 0 {
		u.printf("what the software platform does not enforce\n")
		for _, r := range d.Restrictions {
			u.printf("  - %s\n", r)
		}
		u.printf("\n")
	}
	if d.Auto == "" {
		return u.printf("--platform auto picks none: no enclave can run here\n")
	}
	return u.printf("--platform auto picks %s\n", d.Auto)
}
