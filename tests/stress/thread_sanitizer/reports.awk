# Reads the file of suppressions, then reports of the thread sanitizer with frames as "#N FUNCTION | PLACE". Counts the
# reports of each kind, shows those in full that no suppression covers, and ends with 1 if there are any.

FNR == 1 { file++ }

file == 1 {
  if (!/^#/ && match($0, /^[^:]+, [^:]+: ./)) {
    allowed[substr($0, 1, RLENGTH - 3)]
  } else if (!/^#/ && NF) {
    print "not a suppression with its reason: " $0
    failed = 1
    exit
  }
  next
}

/^WARNING: ThreadSanitizer: / {
  conclude()
  is_open = 1
  kind = $0
  sub(/^WARNING: ThreadSanitizer: /, "", kind)
  sub(/ \(pid=.*/, "", kind)
  accesses = 0
  report = ""
}

is_open { report = report $0 "\n" }

# "Write of size 8 at 0x... by thread T1:", "Previous atomic read of size 4 at 0x... by main thread:".
/^  (Previous )?([Aa]tomic )?([Rr]ead|[Ww]rite) of size / {
  does[++accesses] = tolower($0) ~ /write of size/ ? "writes" : "reads"
  place[accesses] = ""
  is_access = 1
  next
}

/^$/ { is_access = 0 }

is_access && place[accesses] == "" && match($0, /^ *#[0-9]+ /) && $0 !~ / \| \/rustc\// {
  place[accesses] = substr($0, RLENGTH + 1)
  sub(/ \| .*/, "", place[accesses])
}

/^SUMMARY: ThreadSanitizer: / { conclude() }

END {
  if (failed) exit 1
  conclude()
  for (what in counts) printf "%6d %s\n", counts[what], what | "sort -rn"
  close("sort -rn")
  printf "%d reports, %d of them not covered\n", total, found
  exit found > 0
}

function is_allowed(place, does, other, other_does) {
  return (place " " does ", " other " " other_does) in allowed || (place " " does ", * " other_does) in allowed
}

function conclude(    first, second, is_covered) {
  if (!is_open) return
  is_open = 0
  total++
  if (kind == "data race" && accesses == 2 && place[1] != "" && place[2] != "") {
    first = place[1] " " does[1]
    second = place[2] " " does[2]
    is_covered = is_allowed(place[1], does[1], place[2], does[2]) || is_allowed(place[2], does[2], place[1], does[1])
    counts[first < second ? first ", " second : second ", " first]++
  } else {
    counts[kind ", not understood"]++
  }
  if (!is_covered) {
    found++
    print report
  }
}
