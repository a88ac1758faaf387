"""Stores that travel: a study, or a whole store, into one archive, and into another store.

An archive is a tar file, or a folder, laid out as a store is, with ``archive.json`` on top: sizes
and SHA-256 of everything in it. Unpacked it *is* a store, which every verb can read.

**Ids are hashed** on the way out, unless the user keeps them: in every table, sample ids, group ids
(patients) and ids of sources become ``HMAC-SHA256(salt, kind, id)``, cut to 80 bits. One salt
serves a whole archive, so equal ids stay equal and different ones different: groups stay disjoint,
splits and lineage match, made images still name the (hashed) image whose labels they were given.
Rows are sorted by the hashed ids where their order means nothing, as it would tell the order of the
true ones. Texts (messages of failed tasks, JSON files, manifests) have ids that they quote
replaced. Without ``--salt-file`` the salt is random and thrown away: nobody can tell whether a name
that he guesses is in the archive, and two archives of one cohort cannot be put into one store. This
is pseudonymisation: who has the images themselves can recognise them, and who has the true ids and
labels can deal the split anew and line it up with the hashed one.

**What stays the same.** Ids of artifacts and trials are digests of settings, so they stay as they
are: records need no change, and a study finds its results. Files that hold ids change, and with
them their checksums: the manifest of such an artifact is written anew, with its new files, and with
a section ``rewritten``: the digest of the content it had (``original``), a fingerprint of the salt
(``key``), and what was left out (``left_out``). Manifests that cite it as an input are *not*
touched: they go on naming the original content, and
:attr:`~synthtrial.store.artifacts.Artifact.origin_digest` is what `verify` and new citations look
at. So the chain holds link by link, in any mixture of rewritten and untouched artifacts, and two
archives of one artifact can be told to be the same, whatever their salts. (Digesting everything
downstream anew would hold just as well, but would cut the archive off from the store that it came
from.) The digest of the original names nobody: to find it, one must have the whole table already,
to the last rank.

**What that costs.** Splits are dealt, and batches are ordered, by the names of samples. A split
made from hashed ids would hold out other images under the same id, so no task takes a rewritten
artifact as its input: an imported store with hashed ids can be read, compared, verified and
exported again, and nothing new is trained in it. A store that is to go on elsewhere travels with
``--keep-ids``.

**Restrictions** are in the manifests and travel with them. Of an artifact with one, images, label
vectors and weights (whatever is no table of ids, and no JSON) are left out, unless the user asks
for them with ``--with-restricted``; its manifest says what was left out, and lineage still works.

:mod:`.pseudonyms` hashes, :mod:`.archive` writes and reads archives, :mod:`.formats` tells what is
none, :mod:`.exporting` and :mod:`.merging` are the two ways.
"""
