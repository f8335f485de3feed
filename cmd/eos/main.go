// Command eos turns a program into a measured, signed enclave image and runs
// it. See "eos help" or the README.
//
// Every verb is a file of its own: flags, one call of a library, printing. The
// printing rules are in ui.go.
package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/enclaveos/eos/cmd/eos/edptool"
	"github.com/spf13/cobra"
)

func main() { os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr)) }

// run is the whole program: args as in os.Args, to an exit code. By the name of
// an EDP tool, through a link or as "tool NAME", it is that tool; nothing of
// the command line is looked at on the way.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		args = []string{"eos"}
	}
	edptool.OpenPlatform = (&platformFlags{name: "auto"}).open
	if name := filepath.Base(args[0]); edptool.Has(name) {
		return edptool.Run(name, args[1:], stdin, stdout, stderr)
	}
	if len(args) > 2 && args[1] == "tool" && edptool.Has(args[2]) {
		return edptool.Run(args[2], args[3:], stdin, stdout, stderr)
	}

	u := &ui{stdin: stdin, stdout: stdout, stderr: stderr}
	root := rootCmd(u)
	root.SetArgs(args[1:])
	err := root.Execute()
	var status exitStatus
	if errors.As(err, &status) {
		return int(status)
	}
	if err == nil {
		return 0
	}
	u.fail(err)
	var with withStatus
	switch {
	case errors.As(err, &with):
		return with.status
	case isUsage(err):
		return exitUsage
	}
	return exitError
}

// verbs lists the commands in the order in which help shows them.
var verbs = []func(*ui) *cobra.Command{
	buildCmd, appendCmd, signCmd, runCmd, testCmd,
	verifyCmd, callCmd, statusCmd, appCmd,
	inspectCmd, diffCmd, stateCmd, keygenCmd, caCmd, doctorCmd,
	toolCmd, completionCmd, versionCmd,
}

func rootCmd(u *ui) *cobra.Command {
	root := &cobra.Command{
		Use:   "eos",
		Short: "build, sign and run enclaves",
		Long: `eos turns a program into an enclave image (SGXS), signs it and runs it, on SGX
hardware or on a software platform. A program is a set of WASM modules, a Go
package or an ELF file.

  eos build app.wasm                  app.wasm -> app.sgxs, prints MRENCLAVE
  eos keygen key.pem                  once
  eos sign --key key.pem app.sgxs     app.sig, prints MRSIGNER
  eos run app.sgxs                    as an enclave, at https://127.0.0.1:8443
  eos call --mrenclave app.sgxs app hello name=Ann

Sizes take units (64MiB, 128K) and hex (0x1000). Errors go to stderr; the exit
status is 1 for an error and 2 for a wrong command line.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownVerb(cmd, args[0])
			}
			return nil
		},
		SilenceUsage:      true,
		SilenceErrors:     true,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetIn(u.stdin)
	root.SetOut(u.stdout)
	root.SetErr(u.stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		// Flags after a word that is no verb are not the fault to name.
		if words := cmd.Flags().Args(); cmd == root && len(words) > 0 {
			return unknownVerb(root, words[0])
		}
		return flagError(cmd, err)
	})
	root.SetHelpCommand(helpCmd())
	root.SetUsageTemplate(usageTemplate)
	cobra.EnableCommandSorting = false
	for _, v := range verbs {
		c := v(u)
		c.DisableFlagsInUseLine = true
		root.AddCommand(c)
	}
	return root
}
