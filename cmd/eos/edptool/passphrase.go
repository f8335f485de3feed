package edptool

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

// askPassphrase asks at the terminal, without echo, as OpenSSL does; without a
// terminal the first line of stdin is the answer.
func askPassphrase(prompt string, stdin io.Reader, stderr io.Writer) ([]byte, error) {
	if tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0); err == nil {
		defer tty.Close()
		return readTerminal(tty, prompt)
	}
	fmt.Fprint(stderr, prompt)
	line, err := bufio.NewReader(stdin).ReadBytes('\n')
	if errors.Is(err, io.EOF) && len(line) > 0 {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("no passphrase on standard input: %w", err)
	}
	return bytes.TrimRight(line, "\r\n"), nil
}

// readTerminal reads a line without echo. An interrupt ends the program, and
// the terminal gets its echo back.
func readTerminal(tty *os.File, prompt string) ([]byte, error) {
	fd := int(tty.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	c, stop := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(c)
	defer close(stop)
	go func() {
		select {
		case s := <-c:
			_ = term.Restore(fd, state)
			fmt.Fprintln(tty)
			if n, ok := s.(syscall.Signal); ok {
				os.Exit(128 + int(n))
			}
			os.Exit(1)
		case <-stop:
		}
	}()
	fmt.Fprint(tty, prompt)
	pass, err := term.ReadPassword(fd)
	fmt.Fprintln(tty)
	return pass, err
}
