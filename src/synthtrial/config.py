"""The settings of a study, as frozen dataclasses that OmegaConf checks.

:mod:`synthtrial.study` reads them from YAML. Settings of plug-ins live beside the plug-in; a
section such as ``dataset`` names one and holds its options. Only what changes a result enters an
id (:mod:`synthtrial.identity`): engine, store, statistics and report settings never do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from synthtrial.data_config import ImbalanceConfig as ImbalanceConfig
from synthtrial.data_config import SplitConfig as SplitConfig
from synthtrial.engine_config import EngineConfig
from synthtrial.statistics_config import PrimaryConfig as PrimaryConfig
from synthtrial.statistics_config import StatisticsConfig as StatisticsConfig


@dataclass(frozen=True)
class BalanceConfig:
    """How many images are added, of what. Give ``target`` or ``count``, not both.

    Attributes:
        classes: the classes to raise; empty means those of ``imbalance``.
        target: prevalence that each chosen class reaches with the fewest added images.
        count: a fixed number of added images instead.
        count_mode: whether ``count`` is for each chosen class or shared by all of them.
    """

    classes: list[str] = field(default_factory=list)
    target: float | None = None
    count: int | None = None
    count_mode: Literal["per_class", "total"] = "per_class"


@dataclass(frozen=True)
class FilterConfig:
    """Keep made images only where the reference classifier agrees with what they were meant to be.

    Attributes:
        candidates: images made for each one wanted. Kept are the first that are accepted, in the
            order of their latents, until the wanted number of each class is reached; a class that
            falls short ends in an error that says how many were accepted.
        threshold: of multi-label data, the probability of the intended class that is accepted; with
            one class an image, the intended class must be the most probable one.
        on_shortfall: ``refuse`` with an error, or ``fill`` up with images that were not accepted.
    """

    candidates: int = 4
    threshold: float = 0.5
    on_shortfall: Literal["refuse", "fill"] = "refuse"


@dataclass(frozen=True)
class ArmConfig:
    """What is done about the imbalance.

    Attributes:
        preset: installed arm to start from; by default one of the arm's own name, if there is one.
        fit_on: real rows that the classifier is trained on: the regimen's own (``subset``), or the
            whole training set before imbalance (``original``): what the remedies aspire to.
        synthetic: add images from the generator.
        gan_training: settings of ``gan_training`` that differ for the generator of this arm, such
            as ``{fit_on: original}`` or ``{steps: 500}``.
        filter: make more images than are wanted and keep what the reference classifier accepts.
        dose_of: name of an arm with a filter whose accepted images this arm takes the first of, as
            many of each class as its own ``balance`` says.
        repeat: name of an arm whose added label vectors are matched by repeating the real images
            they were drawn from: same counts, same labels, same number of steps.
        balance: how many images are added; by default the study's ``balance``.
        shuffle_labels: give the made images each other's labels: a control that adds the same
            images without what they say about classes.
        augment: random transforms of training images, each ``{name: ..., options}``.
        augment_only: transform only images that hold one of these classes; by default all.
        sampler: ``shuffle`` visits every row once an epoch; ``balanced`` draws rows with
            replacement so that every class is equally likely.
        class_weights: ``balanced`` weighs the loss by inverse class frequency.
        steps_of: name of an arm whose number of gradient steps this arm is given; one that adds
            synthetic images, or one that adds nothing, such as ``none``.
    """

    preset: str | None = None
    fit_on: Literal["subset", "original"] = "subset"
    synthetic: bool = False
    gan_training: dict[str, Any] = field(default_factory=dict)
    filter: FilterConfig | None = None
    dose_of: str | None = None
    repeat: str | None = None
    balance: BalanceConfig | None = None
    shuffle_labels: bool = False
    augment: list[dict[str, Any]] = field(default_factory=list)
    augment_only: list[str] = field(default_factory=list)
    sampler: Literal["shuffle", "balanced"] = "shuffle"
    class_weights: Literal["none", "balanced"] = "none"
    steps_of: str | None = None


@dataclass(frozen=True)
class TrainingConfig:
    """One classifier training; ``grid`` varies these fields.

    Attributes:
        epochs: passes over the training rows, at most.
        checkpoint: keep the weights of the ``best`` epoch on validation, or of the ``last``.
        learning_rate: of the optimiser, constant.
        batch_size: rows a step.
        optimizer: ``momentum`` (SGD) or ``adam``.
        momentum: of ``momentum``.
        weight_decay: L2 penalty.
        label_policy: what an uncertain label (-1) counts as in training: ``ones``, ``zeros``,
            ``ignore``, or ``smooth``, a number between 0 and 1 drawn for each. Judging takes
            ``smooth`` as ``ones``.
        smoothing: smallest and largest number of ``smooth`` (Pham et al. 2019, U-Ones+LSR).
        precision: ``bf16`` runs the forward pass under autocast.
        max_steps: end after so many steps (used by ``run --smoke``).
    """

    epochs: int = 10
    checkpoint: Literal["best", "last"] = "best"
    learning_rate: float = 1e-3
    batch_size: int = 32
    optimizer: Literal["momentum", "adam"] = "adam"
    momentum: float = 0.9
    weight_decay: float = 0.0
    label_policy: Literal["ones", "zeros", "ignore", "smooth"] = "ones"
    smoothing: list[float] = field(default_factory=lambda: [0.55, 0.85])
    precision: Literal["fp32", "bf16"] = "fp32"
    max_steps: int | None = None


@dataclass(frozen=True)
class GanTrainingConfig:
    """The GAN loop, whatever the family of networks.

    Attributes:
        fit_on: rows the generator may see: the trial's own regimen (``subset``), the whole
            training set (``train``), the training set before imbalance (``original``), or, of
            images made elsewhere, nobody here decides (``external``).
        steps: generator updates.
        global_batch: images a discriminator update, over all ranks.
        discriminator_steps: discriminator updates for each generator update.
        generator_learning_rate, discriminator_learning_rate: of Adam.
        beta1, beta2: of Adam.
        ema: decay of the averaged generator that makes the images (Yazici et al. 2019).
        balanced_sampling: draw real rows so that every class is equally likely.
        diffaugment: differentiable augmentations of real and made images alike (Zhao et al.
            2020): any of ``translation``, ``cutout``, ``color``.
        max_bad_steps: consecutive steps with a non-finite loss before training is given up.
        class_weights: ``balanced`` weighs each image's losses by inverse class frequency: the other
            remedy for imbalance beside ``balanced_sampling``.
        lecam: weight of the LeCam regulariser, for few training images (Tseng et al. 2021).
        conditional_from, conditional_at: fractions of the training between which conditioning on
            the class is phased in, from an unconditional start (Shahbazi et al. 2022); 0 and 0 for
            conditioning from the start.
        gradient_penalty: weight of the penalty of ``wgan_gp`` (Gulrajani et al. 2017).
        drift: weight of the squared real scores under ``wgan_gp`` (Karras et al. 2018).
        label_loss: weight of the auxiliary label loss, of families that have one.
        precision: ``bf16`` runs forward passes under autocast.
        channels_last: memory format of images and weights; often faster on GPUs with ``bf16``.
    """

    fit_on: Literal["subset", "train", "original", "external"] = "subset"
    steps: int = 1500
    global_batch: int = 32
    discriminator_steps: int = 1
    generator_learning_rate: float = 2e-4
    discriminator_learning_rate: float = 2e-4
    beta1: float = 0.0
    beta2: float = 0.9
    ema: float = 0.999
    balanced_sampling: bool = True
    diffaugment: list[str] = field(default_factory=lambda: ["translation", "cutout"])
    max_bad_steps: int = 3
    class_weights: Literal["none", "balanced"] = "none"
    lecam: float = 0.0
    conditional_from: float = 0.0
    conditional_at: float = 0.0
    gradient_penalty: float = 10.0
    drift: float = 1e-3
    label_loss: float = 1.0
    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = False


@dataclass(frozen=True)
class ReferenceConfig:
    """The classifier that judges made images; it is trained on real ones like a trial.

    Attributes:
        fit_on: rows it is trained on: the regimen's own (``subset``), the whole training set
            (``train``) or the training set before imbalance (``original``).
        arm: name of an arm without added images whose transforms, sampler and class weights it
            takes; by default none of these.
        training: settings of ``training`` that differ for it. Its last epoch counts, so that it has
            seen nothing of validation.
    """

    fit_on: Literal["subset", "train", "original"] = "subset"
    arm: str | None = None
    training: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class QualityConfig:
    """How made images are measured, class by class, and what is too bad to be used.

    Made images are compared with real validation images and with the rows that the generator saw,
    never with the test set.

    Attributes:
        features: where distances are measured: in the ``reference`` classifier's last layer or in
            ImageNet-pretrained ``efficientnet_lite0``; ``none`` measures nothing.
        neighbours: k of precision, recall, density and coverage.
        min_recognisability: least share of a class that the reference classifier recognises,
            relative to held-out real images.
        min_coverage: least coverage, relative to real images.
        max_kernel_distance: largest kernel distance.
        max_memorised: largest share of images that are as near to a training image as the nearest
            twentieth of held-out real images.
        on_shortfall: ``warn`` in report and manifest, or ``refuse`` to use the images.
    """

    features: Literal["none", "reference", "efficientnet_lite0"] = "none"
    neighbours: int = 5
    min_recognisability: float | None = None
    min_coverage: float | None = None
    max_kernel_distance: float | None = None
    max_memorised: float | None = None
    on_shortfall: Literal["warn", "refuse"] = "warn"


@dataclass(frozen=True)
class AshaConfig:
    """Early stopping of grid trials by asynchronous successive halving (Li et al. 2020).

    Attributes:
        grace_epochs: epochs that every trial is given; the first rung.
        reduction_factor: of the trials of a cell that reach a rung, about one in so many goes on;
            each rung has so many times the epochs of the one before.
    """

    grace_epochs: int = 1
    reduction_factor: int = 2


@dataclass(frozen=True)
class ProtocolConfig:
    """How configurations are chosen and results replicated.

    Attributes:
        kind: ``grid_once`` runs the grid once per cell on draw 0, chooses on validation and
            reports fresh replicates of the winner; ``full_grid`` runs every configuration in every
            replicate and chooses by the mean over replicates; ``retune`` does the same but chooses
            within each replicate, so that its spread holds the choice as well.
        draws: number of random subsets, validation sets and generators; by default one for each
            replicate.
        replicates: number of seeds; replicate r uses draw r mod ``draws``.
        select_by: validation metric that chooses the configuration; a per-class metric counts as
            its mean over classes.
        select_over: which classes those are: ``macro_all``, all of them; ``macro_chosen``, the
            classes of interest; ``per_class``, each class of interest has a configuration of its
            own, chosen for it alone. Epochs are kept by the mean over the classes of interest then.
        search: ``grid`` trains every configuration to its end; ``asha`` stops those early that
            fall behind in their cell (engine ``ray``). What is stopped depends on the order in
            which trials end, so two runs may stop different ones.
        asha: settings of that.
    """

    kind: Literal["grid_once", "full_grid", "retune"] = "grid_once"
    draws: int | None = None
    replicates: int = 6
    select_by: str = "accuracy"
    select_over: Literal["macro_all", "macro_chosen", "per_class"] = "macro_all"
    search: Literal["grid", "asha"] = "grid"
    asha: AshaConfig = field(default_factory=AshaConfig)


@dataclass(frozen=True)
class CamConfig:
    """Class activation maps: where one trained classifier looks, in real and in made images.

    They are of the first replicate of an arm's chosen configuration at the largest regimen; real
    images are those of the test set.

    Attributes:
        arm: that adds made images; None makes no maps.
        images: real and made ones of each class of interest whose maps are compared.
    """

    arm: str | None = None
    images: int = 40


@dataclass(frozen=True)
class StoreConfig:
    """Where results are kept.

    Attributes:
        path: folder of the store; relative paths start at the working directory.
        report_path: folder that reports are written under.
        cache_path: node-local folder of decoded images; by default under the system's temporary
            folder, or ``$SYNTHTRIAL_CACHE``.
        shard_bytes: encoded size at which an image shard is closed.
        keep_logits: keep what the classifiers of replicate trials say of every validation and test
            image, so that intervals can hold the test set's part too. It takes three files a
            replicate, and four bytes for each image and class: 35 kB for the digits, 1 MB for
            20,000 images of 14 classes. Of trials that ended without it nothing is kept.
        show_restricted: show images of a dataset that may not be passed on in the report; whoever
            gets the report then gets them too.
    """

    path: str = "synthtrial-store"
    report_path: str = "synthtrial-reports"
    cache_path: str | None = None
    shard_bytes: int = 128 * 2**20
    keep_logits: bool = False
    show_restricted: bool = False


@dataclass(frozen=True)
class StudySettings:
    """A whole study as its YAML spells it; :class:`synthtrial.study.Study` is its checked form.

    Attributes:
        name: of the study; letters, digits, ``-`` and ``_``.
        description: one sentence for the report.
        seed: root of every random stream.
        dataset, generator, classifier: ``name`` of a plug-in and its options.
        regimens: parts of the training set in use: a fraction up to 1, or a number of images.
        arms: settings of each arm by name.
        grid: values for fields of ``training``; their product is the grid.
        metrics: names of the metrics that every evaluation computes.
        reference: the classifier that judges made images.
        quality: how made images are measured.
        cams: of which classifier class activation maps are made.
        allow_leakage: run trials whose images descend from held-out groups, and stamp them LEAKY.
    """

    name: str
    description: str = ""
    seed: int = 0
    dataset: dict[str, Any] = field(default_factory=dict)
    split: SplitConfig = field(default_factory=SplitConfig)
    imbalance: ImbalanceConfig = field(default_factory=ImbalanceConfig)
    regimens: list[float] = field(default_factory=lambda: [1.0])
    balance: BalanceConfig = field(default_factory=BalanceConfig)
    arms: dict[str, ArmConfig] = field(default_factory=dict)
    generator: dict[str, Any] = field(default_factory=dict)
    gan_training: GanTrainingConfig = field(default_factory=GanTrainingConfig)
    reference: ReferenceConfig = field(default_factory=ReferenceConfig)
    quality: QualityConfig = field(default_factory=QualityConfig)
    cams: CamConfig = field(default_factory=CamConfig)
    classifier: dict[str, Any] = field(default_factory=dict)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    grid: dict[str, list[Any]] = field(default_factory=dict)
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)
    metrics: list[str] = field(default_factory=lambda: ["accuracy", "recall"])
    statistics: StatisticsConfig = field(default_factory=StatisticsConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    allow_leakage: bool = False
