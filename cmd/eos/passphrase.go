package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// passphraseEnv names the variable that holds a passphrase where there is no
// terminal.
const passphraseEnv = "EOS_KEY_PASSPHRASE"

// passphraseSource is where passphrases come from: the file of
// --passphrase-file, else the environment, else the terminal.
type passphraseSource struct {
	file string
}

func (p *passphraseSource) flag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.file, "passphrase-file", "", "`FILE` whose first line is the key's passphrase (else $"+passphraseEnv+", else the terminal asks)")
	completeFlagFiles(cmd, "passphrase-file")
}

// given returns a passphrase that needs no terminal.
func (p *passphraseSource) given() (pass []byte, ok bool, err error) {
	if p.file != "" {
		b, err := os.ReadFile(p.file)
		if err != nil {
			return nil, false, err
		}
		line, _, _ := bytes.Cut(b, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 {
			return nil, false, fmt.Errorf("the first line of %s, the passphrase, is empty", p.file)
		}
		return line, true, nil
	}
	if s, ok := os.LookupEnv(passphraseEnv); ok {
		if s == "" {
			return nil, false, fmt.Errorf("$%s is empty", passphraseEnv)
		}
		return []byte(s), true, nil
	}
	return nil, false, nil
}

// open returns the passphrase of an existing key.
func (p *passphraseSource) open(ref string) ([]byte, error) {
	if pass, ok, err := p.given(); ok || err != nil {
		return pass, err
	}
	return askPassphrase("passphrase of " + oneLine(ref))
}

// choose returns the passphrase for a new key; a terminal asks twice.
func (p *passphraseSource) choose(ref string) ([]byte, error) {
	if pass, ok, err := p.given(); ok || err != nil {
		return pass, err
	}
	pass, err := askPassphrase("new passphrase for " + oneLine(ref))
	if err != nil {
		return nil, err
	}
	if len(pass) == 0 {
		return nil, withHint(errors.New("the passphrase is empty"), "leave out --encrypt for a key without one")
	}
	again, err := askPassphrase("the same again")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(pass, again) {
		return nil, errors.New("the two passphrases differ")
	}
	return pass, nil
}

// askPassphrase asks on the controlling terminal, whatever stdin and stdout
// are, without echo.
func askPassphrase(prompt string) ([]byte, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, withHint(errors.New("a passphrase is needed and there is no terminal to ask on"),
			"use --passphrase-file FILE or set $%s", passphraseEnv)
	}
	defer tty.Close()
	restore := restoreTerminalOnSignal(int(tty.Fd()))
	defer restore()
	fmt.Fprintf(tty, "%s: ", prompt)
	pass, err := term.ReadPassword(int(tty.Fd()))
	fmt.Fprintln(tty)
	return pass, err
}
