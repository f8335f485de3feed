package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/runner/platform/softsgx"
	"github.com/enclaveos/eos/pkg/runner/platform/softsgx/microcode"
	"github.com/spf13/cobra"
)

// platformFlags choose where enclaves run.
type platformFlags struct{ name, dir string }

var platformNames = []string{"auto", "hardware", "software"}

func (f *platformFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.name, "platform", "auto", "`NAME`: auto, hardware or software")
	cmd.Flags().StringVar(&f.dir, "platform-dir", "", "`DIR` where the software platform keeps its keys (default: $XDG_STATE_HOME/eos)")
	completeFlagWords(cmd, "platform", platformNames...)
	if err := cmd.MarkFlagDirname("platform-dir"); err != nil {
		panic(err) // the flag has just been defined
	}
}

// open returns the platform. "auto" is hardware where there is a platform for
// it, so for now software.
func (f *platformFlags) open() (platform.Platform, error) {
	switch f.name {
	case "auto", "software":
	case "hardware":
		return nil, withHint(errors.New("--platform hardware: this version of eos does not run enclaves on SGX hardware"),
			"--platform software runs the same image, without secrecy from the host")
	default:
		return nil, unknownWord("platform", f.name, platformNames, "--platform takes auto, hardware or software")
	}
	dir, err := stateDir(f.dir)
	if err != nil {
		return nil, err
	}
	device, err := openDevice(dir)
	if err != nil {
		return nil, err
	}
	p, err := softsgx.New(softsgx.Options{Device: device})
	return p, withHint(err, "eos doctor says what this machine can do, and how to help it")
}

// openDevice opens the software platform's device, whose key is in dir.
func openDevice(dir string) (*microcode.Device, error) {
	device, err := microcode.OpenDevice(dir)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return nil, withHint(err, "the platform keeps its keys in %s: use --platform-dir DIR or set $XDG_STATE_HOME", dir)
	}
	return device, err
}

// stateDir returns dir or else where the XDG base directory specification puts
// the state of programs.
func stateDir(dir string) (string, error) {
	if dir != "" {
		return dir, nil
	}
	// The specification says to ignore a relative path.
	if state := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return filepath.Join(state, "eos"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", withHint(fmt.Errorf("no place for the platform's keys: %w", err), "use --platform-dir DIR or set $XDG_STATE_HOME")
	}
	return filepath.Join(home, ".local", "state", "eos"), nil
}
