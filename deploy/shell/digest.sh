# What Prometheus and its exporters compare a password with: bcrypt, by the C library. Sourced, not run.
# shellcheck shell=bash

# digest: of the line on standard input, so that no list of processes has it.
digest() {
    perl -e 'chomp(my $password = <STDIN>); my @of = (".", "/", 0 .. 9, "A" .. "Z", "a" .. "z");
        print crypt($password, "\$2b\$08\$" . join("", map { $of[rand @of] } 1 .. 22))'
}
