package edptool

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// askPassphrase asks at the terminal, without echo, as OpenSSL does; without a
// terminal the first line of stdin is the answer.
func askPassphrase(prompt string, stdin io.Reader, stderr io.Writer) ([]byte, error) {
	if tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0); err == nil {
		defer tty.Close()
		fmt.Fprint(tty, prompt)
		pass, err := term.ReadPassword(int(tty.Fd()))
		fmt.Fprintln(tty)
		return pass, err
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
