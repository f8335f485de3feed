package channel

// Err is nil for OK and s itself for all others.
func (s Status) Err() error {
	if s == OK {
		return nil
	}
	return s
}
