package ovstest

import "github.com/tierloom/tierloom/ovs"

// What tests of traces do to packets.

func PushVLAN(p Packet) Packet                { return p.push() }
func PopVLAN(p Packet) Packet                 { return p.pop() }
func Write(p Packet, m ovs.FieldMatch) Packet { return p.write(m) }
