package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/enclaveos/eos/cmd/eos/edptool"
	"github.com/spf13/cobra"
)

func toolCmd(u *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tool NAME [ARGS...]",
		Short: "be a tool of the Fortanix EDP, under its name",
		Long: `Be a tool of the Fortanix EDP: its command line, its output, its exit status.
The same happens when eos is called by that name through a link, and
"eos tool install DIR" makes those links.

Tools: ` + strings.Join(edptool.Names(), " "),
		DisableFlagParsing: true, // all of it belongs to the tool
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return withHint(usagef("eos tool: NAME is missing"), "eos tool list prints the names")
			case args[0] == "--help" || args[0] == "-h":
				return cmd.Help()
			}
			return unknownWord("tool", args[0], append(edptool.Names(), "install", "list"), "eos tool list prints the names")
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return edptool.Names(), cobra.ShellCompDirectiveNoFileComp
		},
	}
	for _, c := range []*cobra.Command{toolInstallCmd(u), toolListCmd(u)} {
		c.DisableFlagsInUseLine = true
		cmd.AddCommand(c)
	}
	return cmd
}

func toolListCmd(u *ui) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [--json]",
		Short: "print the tools' names",
		Args:  positional(0),
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				return u.json(edptool.Names())
			}
			return u.printf("%s\n", strings.Join(edptool.Names(), "\n"))
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func toolInstallCmd(u *ui) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "install [--force] DIR",
		Short: "make links to eos, named as the tools, in a directory",
		Long: `Make a symbolic link to this executable for each tool in DIR, which is
made if it is not there. Links that are already right stay. Anything else of the same name is refused;
--force replaces links, never files.`,
		Args: positional(1, "DIR"),
		RunE: func(_ *cobra.Command, args []string) error {
			self, err := os.Executable()
			if err != nil {
				return err
			}
			made, err := installLinks(self, args[0], force)
			for _, path := range made {
				if err := u.printf("%s\n", path); err != nil {
					return err
				}
			}
			return err
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace links that point elsewhere")
	return cmd
}

// installLinks makes the links of "tool install" and returns their paths. It
// looks at all names before it makes the first.
func installLinks(target, dir string, force bool) ([]string, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	var missing, stale []string
	for _, name := range edptool.Names() {
		path := filepath.Join(dir, name)
		fi, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, path)
			continue
		case err != nil:
			return nil, err
		case fi.Mode().Type() != fs.ModeSymlink:
			return nil, withHint(fmt.Errorf("%s exists and is not a link", path), "move it away, or choose another directory")
		}
		old, err := os.Readlink(path)
		switch {
		case err != nil:
			return nil, err
		case old == target:
		case !force:
			return nil, withHint(fmt.Errorf("%s already links to %s", path, old), "--force replaces it")
		default:
			stale = append(stale, path)
		}
	}
	for _, path := range stale {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	var made []string
	for _, path := range append(missing, stale...) {
		if err := os.Symlink(target, path); err != nil {
			return made, err
		}
		made = append(made, path)
	}
	return made, nil
}
